// What the page knows, and who changes it. There is one store; after a change the page
// is drawn once, at the browser's next frame.
import {follow, withQuery} from './stream.js';
import {over} from './format.js';
import {Run} from './run.js';

const meta = name => document.querySelector(`meta[name="ressa-${name}"]`)?.content ?? '';
const mostDecisions = 500;

export const store = {
  coordinator: meta('coordinator'), version: meta('version'), jaeger: meta('jaeger'),
  connected: false, why: 'connecting',
  cluster: {leader: '', members: []},
  jobs: new Map(), nodes: new Map(), heard: {}, heardAt: 0, decisions: [],
  filter: '', show: 100,
  run: null, // the job that is looked at
  missing: '', // why there is none, where one was asked for
  ask: null, // an action that is to be confirmed
};

let draw = () => {}, waiting = false, stopWatch = () => {};

export function onChange(f) { draw = f; }

export function changed() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; draw(); });
}

// say tells who does not see the page what has changed.
export function say(text) { document.getElementById('said').textContent = text; }

// age is how long ago a node was heard, as of now.
export function age(node) {
  const told = store.heard[node];
  return told === undefined ? NaN : told + (performance.now() - store.heardAt) / 1000;
}

// watch follows the cluster, and one job in full where there is an ID.
export function watch(id) {
  stopWatch();
  if (store.run) store.run.close();
  store.run = id ? new Run(id, changed) : null;
  store.missing = '';
  if (id) check(id);
  const stop = follow(() => withQuery('/v1/watch', {job: id}), take, {alive});
  stopWatch = stop;
}

// check asks whether there is such a job: a stream does not tell why there is none.
async function check(id) {
  try {
    const answer = await fetch(`/v1/jobs/${encodeURIComponent(id)}`);
    if (answer.status === 404 || answer.status === 409) {
      store.missing = (await answer.json()).error;
      if (store.run?.id === id) { store.run.close(); store.run = null; watchAll(); }
      changed();
    }
  } catch { /* the stream says that nobody answers */ }
}

function watchAll() {
  stopWatch();
  stopWatch = follow(() => '/v1/watch', take, {alive});
}

function alive(ok, why) {
  if (store.connected !== ok) say(ok ? 'Connected' : why);
  store.connected = ok;
  store.why = why;
  changed();
}

function take(e) {
  if (e.first) {
    store.jobs.clear();
    store.nodes.clear();
    store.decisions = [];
    store.run?.reopen();
  }
  if (e.cluster) store.cluster = e.cluster;
  for (const n of e.nodes ?? []) {
    const before = store.nodes.get(n.name);
    if (before && before.state !== n.state) say(`Node ${n.name} is ${n.state}. ${n.reason ?? ''}`);
    store.nodes.set(n.name, n);
  }
  for (const name of e.nodes_gone ?? []) store.nodes.delete(name);
  for (const j of e.jobs ?? []) {
    const before = store.jobs.get(j.id);
    if (before && before.status.state !== j.status.state) say(`Job ${j.name} is ${j.status.state}. ${j.reason}`);
    store.jobs.set(j.id, j);
    pace(j, before);
  }
  for (const id of e.gone ?? []) store.jobs.delete(id);
  if (e.decisions) store.decisions = store.decisions.concat(e.decisions).slice(-mostDecisions);
  store.heard = e.heard ?? {};
  store.heardAt = performance.now();
  if (store.run) store.run.take(e);
  changed();
}

// pace keeps what the time left of a job is guessed from: when it was at which step.
const paces = new Map();

function pace(j) {
  const s = j.status, p = paces.get(j.id);
  if (over(s.state)) { paces.delete(j.id); return; }
  const now = performance.now() / 1000;
  if (!p || p.generation !== s.generation || s.step < p.step) paces.set(j.id, {generation: s.generation, step: s.step, at: now, last: now, now: s.step});
  else if (s.step > p.now) { p.now = s.step; p.last = now; }
}

// left is how many seconds a job still trains, by how it got on since it was looked at.
export function left(j) {
  const p = paces.get(j.id), s = j.status;
  if (!p || s.phase !== 'train' || p.now <= p.step || !s.steps) return NaN;
  return (p.last - p.at) / (p.now - p.step) * (s.steps - s.step);
}

// act asks the coordinator to do something. The header is one that no other site's page
// can send.
export async function act(path, body) {
  const answer = await fetch(path, {
    method: 'POST', headers: {'Content-Type': 'application/json', 'Ressa-Page': '1'}, body: JSON.stringify(body ?? {}),
  });
  if (!answer.ok) {
    let why = `${answer.status} ${answer.statusText}`;
    try { why = (await answer.json()).error; } catch { /* no answer of a coordinator */ }
    throw new Error(why);
  }
}
