// The cluster: its jobs, nodes, coordinators and what was decided.
import {html} from './html.js';
import {changed, left} from './store.js';
import {over, percent, seconds, bytes, flops} from './format.js';
import {state, moment, heard, bar, section, scroll, button, decisions} from './parts.js';
import {cancelling, draining} from './confirm.js';

// cell is a cell that a narrow window leaves out where it has nothing to say.
function cell(label, value, kind) { return html`<td data-label=${label} class=${`${kind ?? ''}${value === '–' ? ' empty' : ''}`}>${value === '–' ? value : html`<div>${value}</div>`}</td>`; }

export function overview(store) {
  const jobs = [...store.jobs.values()].sort((a, b) => b.submitted.localeCompare(a.submitted) || b.id.localeCompare(a.id));
  const nodes = [...store.nodes.values()].sort((a, b) => a.name.localeCompare(b.name, undefined, {numeric: true}));
  return html`<h1 class="unseen">Cluster</h1>${tiles(jobs, nodes)}
    <div class="wide">${jobTable(store, jobs)}</div>
    <div class="wide">${nodeTable(nodes)}</div>
    <div class="two">${members(store.cluster)}
    ${section('decisions', 'Decisions', decisions([...store.decisions].reverse(), 'Decisions of the cluster'), html`<span class="note">newest first</span>`)}</div>`;
}

function tiles(jobs, nodes) {
  const count = (list, of, ...states) => list.filter(x => states.includes(of(x))).length;
  const js = j => j.status.state, ns = n => n.state;
  const tile = (n, text, tone) => html`<li class=${n && tone ? tone : ''}><b>${n}</b> ${text}</li>`;
  return html`<ul class="tiles" aria-label="In short">
    ${tile(count(jobs, js, 'running', 'starting', 'cancelling'), 'running')}
    ${tile(count(jobs, js, 'pending'), 'waiting')}
    ${tile(count(jobs, js, 'succeeded'), 'succeeded')}
    ${tile(count(jobs, js, 'failed'), 'failed', 'bad')}
    ${tile(count(nodes, ns, 'ready'), count(nodes, ns, 'ready') === 1 ? 'node ready' : 'nodes ready')}
    ${tile(count(nodes, ns, 'lost', 'unfit'), 'nodes lost or unfit', 'bad')}</ul>`;
}

function jobTable(store, all) {
  const words = store.filter.toLowerCase().split(/\s+/).filter(Boolean);
  const jobs = words.length ? all.filter(j => { const t = `${j.id} ${j.name} ${j.status.state} ${j.status.phase} ${j.reason}`.toLowerCase(); return words.every(w => t.includes(w)); }) : all;
  const shown = jobs.slice(0, store.show);
  const filter = all.length > 1 && html`<label class="find">Filter <input type="search" value=${store.filter} placeholder="name, ID or state" onInput=${e => { store.filter = e.target.value; changed(); }}/></label>`;
  if (!all.length) return section('jobs', 'Jobs', html`<p class="none">No job was submitted yet: <code>ressa repair job.yaml --coordinator ${location.origin}</code></p>`);
  return section('jobs', `Jobs (${jobs.length === all.length ? all.length : `${jobs.length} of ${all.length}`})`, html`
    ${scroll('Jobs', html`<table class="cards"><thead><tr>${['Job', 'State', 'Progress', 'Time left', 'Score', 'Recovery', 'Nodes', 'Generation', 'Submitted', ''].map(c => html`<th scope="col">${c || html`<span class="unseen">Actions</span>`}</th>`)}</tr></thead>
    <tbody>${shown.map(jobRow)}</tbody></table>`)}
    ${!jobs.length && html`<p class="none">No job matches.</p>`}
    ${jobs.length > shown.length && html`<p><button type="button" onClick=${() => { store.show += 200; changed(); }}>Show more (${jobs.length - shown.length} not shown)</button></p>`}`, filter);
}

function jobRow(j) {
  const s = j.status, r = j.result;
  const why = s.stalled || (s.state === 'running' || s.state === 'succeeded' ? '' : j.reason);
  return html`<tr key=${j.id} data-job=${j.id}>
    <th scope="row" data-label="Job"><a class="name" href=${`#/jobs/${j.id}`}>${j.name}</a> <span class="id">${j.id}</span>${why && html`<div class="why">${why}</div>`}</th>
    ${cell('State', state(s.state))}
    ${cell('Progress', s.steps ? html`${!over(s.state) && s.phase ? html`${s.phase} ` : ''}<span class="num">${s.step} of ${s.steps}</span> ${bar(s.step, s.steps, 'Steps')}` : '–')}
    ${cell('Time left', over(s.state) ? '–' : seconds(left(j)), 'num')}
    ${cell('Score', percent(r?.repaired?.score), 'num')}
    ${cell('Recovery', percent(100 * r?.recovery), 'num')}
    ${cell('Nodes', j.plan?.nodes?.length ?? 0, 'num')}
    ${cell('Generation', s.generation, 'num')}
    ${cell('Submitted', moment(j.submitted))}
    <td class="act">${over(s.state) || s.state === 'cancelling' ? null : button('Cancel', cancelling(j), `Cancel job ${j.name} ${j.id}`)}</td></tr>`;
}

function nodeTable(nodes) {
  if (!nodes.length) return section('nodes', 'Nodes and GPUs', html`<p class="none">No node has registered yet: <code>ressa trainer --name t1 --data t1 --coordinator ${location.origin}</code></p>`);
  return section('nodes', `Nodes and GPUs (${nodes.length})`, scroll('Nodes and GPUs', html`<table class="cards"><thead><tr>${['Node', 'State', 'Heard', 'Devices', 'Health', 'Job', 'Reach', ''].map(c => html`<th scope="col">${c || html`<span class="unseen">Actions</span>`}</th>`)}</tr></thead>
    <tbody>${nodes.map(nodeRow)}</tbody></table>`));
}

function nodeRow(n) {
  const away = n.state === 'lost' || n.state === 'left';
  const reach = Object.entries(n.reach ?? {});
  return html`<tr key=${n.name} data-node=${n.name}>
    <th scope="row" data-label="Node"><span class="name">${n.name}</span> <span class="id">pid ${n.pid}</span>${n.reason && n.state !== 'ready' && html`<div class="why">${n.reason}</div>`}</th>
    ${cell('State', html`${state(n.state)}${n.draining && n.state !== 'draining' ? html` <span class="warn">and drained</span>` : null}`)}
    ${cell('Heard', away ? '–' : heard(n.name), 'num')}
    ${cell('Devices', html`<ul class="devices">${(n.devices ?? []).map(d => html`<li><b class="name">${d.name}</b> ${d.kind}${d.compute ? ` ${d.compute}` : ''}, ${flops(d.speed)}, ${bytes(d.memory)} free${d.note && html`<div class="why">${d.note}</div>`}</li>`)}</ul>`)}
    ${cell('Health', n.health?.length ? html`<ul class="devices">${n.health.map(f => html`<li class=${f.severity === 'fatal' ? 'bad' : 'warn'}><b>${f.severity === 'fatal' ? '✗ fatal' : '▲ warning'}</b> ${f.device && html`<span class="name">${f.device}</span>: `}${f.reason}</li>`)}</ul>` : away ? '–' : 'nothing found')}
    ${cell('Job', n.jobs?.length ? n.jobs.map(id => html`<a href=${`#/jobs/${id}`}>${id}</a> `) : '–')}
    ${cell('Reach', reach.length ? reach.map(([peer, how]) => html`<div><span class="name">${peer}</span> ${how}</div>`) : '–')}
    <td class="act">${n.draining ? button('Undrain', draining(n, false), `Let jobs on node ${n.name} again`) : away ? null : button('Drain', draining(n, true), `Drain node ${n.name}`)}</td></tr>`;
}

function members(cluster) {
  return section('members', `Coordinators (${cluster.members.length})`, scroll('Coordinators', html`<table><thead><tr><th scope="col">Coordinator</th><th scope="col">State</th><th scope="col">Address</th><th scope="col">Version</th></tr></thead><tbody>
    ${cluster.members.map(m => html`<tr key=${m.id}><th scope="row" class="name">${m.id}</th><td><span class=${`state ${m.alive ? 'good' : 'bad'}`}><span aria-hidden="true">${m.alive ? '●' : '✗'}</span> ${m.leader ? 'leads' : m.alive ? 'follows' : 'away'}</span></td>
      <td class="whole">${m.addr}</td><td>${m.version}</td></tr>`)}</tbody></table>`));
}
