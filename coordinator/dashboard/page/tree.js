// Run → generation → rank.
import {html} from './html.js';
import {over, seconds} from './format.js';
import {state, moment, heard} from './parts.js';

export function tree(store, run) {
  const j = run.job, s = j.status;
  if (!s.generation) return html`<p class="none">The job has no plan yet. ${j.reason}</p>`;
  const causes = new Map(run.history.changes.map(c => [c.generation, c]));
  const numbers = new Set([s.generation, ...causes.keys(), ...run.past.keys(), ...(causes.size ? [Math.min(...causes.keys()) - 1] : [])]);
  const list = [...numbers].filter(g => g > 0).sort((a, b) => b - a);
  return html`<ul class="tree"><li><span class="name">${j.name}</span> ${state(s.state)}
    <ul>${list.map(g => generation(store, run, g, causes.get(g), nextOf(causes, g)))}</ul></li></ul>`;
}

// nextOf is the change that ended a generation.
function nextOf(causes, g) {
  const after = [...causes.keys()].filter(x => x > g);
  return after.length ? causes.get(Math.min(...after)) : undefined;
}

// planOf is why and on which nodes a generation was planned, as it was decided.
function planOf(run, g) {
  const head = `generation ${g}: `;
  return run.history.decisions.find(d => d.action === 'planned' && d.reason.startsWith(head))?.reason.slice(head.length) ?? '';
}

function generation(store, run, g, began, ended) {
  const j = run.job, current = g === j.status.generation;
  const ranks = current ? j.status.ranks : run.past.get(g);
  const how = current ? (over(j.status.state) ? 'the last' : began && !began.from ? 'is taking over' : 'works') : 'over';
  return html`<li key=${g} data-generation=${g}><details open=${current}>
    <summary><b>Generation ${g}</b> <span class=${current ? 'good' : 'note'}>${how}</span></summary>
    ${began && html`<p class="why">Began ${moment(began.planned)}, because ${planOf(run, g) || began.cause}. ${began.from ? `${began.pause > 0 ? seconds(began.pause) : 'An unknown time'} without steps, ${began.steps_lost} made again.` : ''}</p>`}
    ${ended && html`<p class="why">Ended: ${ended.cause}</p>`}
    ${planOf(run, g) && !began && html`<p class="why">${planOf(run, g)}</p>`}
    ${ranks?.length ? html`<ul>${ranks.map((r, i) => rank(store, run, r, i, current))}</ul>` : html`<p class="none">Its ranks were not seen by this page.</p>`}
  </details></li>`;
}

function rank(store, run, r, i, current) {
  const n = store.nodes.get(r.node);
  const bad = n && n.state !== 'ready' && n.state !== 'draining';
  const live = current && !over(run.job.status.state);
  return html`<li key=${`${r.role}-${r.stage}-${r.replica}-${r.node}`} class="rank" data-node=${r.node}>
    <span class="role">${r.role} · stage ${r.stage} · replica ${r.replica}</span>
    <span>on <span class="name">${r.node}</span>${r.pid ? html` <span class="id">pid ${r.pid}</span>` : null}</span>
    ${live ? html`<span>${n ? state(n.state) : state('left')} ${bad ? null : html`heard ${heard(r.node)}`}</span>` : n ? html`<span class="note">the node is now ${state(n.state)}</span>` : null}
    ${r.microbatches ? html`<span class="note">${r.microbatches} microbatches</span>` : null}
    ${bad && n.reason && html`<p class="why">${n.reason}</p>`}
    ${(n?.health ?? []).map(f => html`<p class=${`why ${f.severity === 'fatal' ? 'bad' : 'warn'}`}>${f.severity}: ${f.reason}</p>`)}
  </li>`;
}
