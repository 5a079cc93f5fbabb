// The last steps: how long each took, and one of them by rank and phase.
import {html} from './html.js';
import {seconds} from './format.js';
import {scroll} from './parts.js';

const mostSteps = 60, lane = 16;

// kinds of spans: what they are called, and how they look beside their colour.
const kinds = [
  ['vision.forward', 'vision forward', 'k0'], ['language.forward', 'language forward', 'k1'], ['teacher.forward', 'teacher forward', 'k2'], ['loss', 'loss', 'k3'],
  ['vision.backward', 'vision backward', 'k0 back'], ['language.backward', 'language backward', 'k1 back'], ['teacher.backward', 'teacher backward', 'k2 back'],
  ['send', 'send', 'k4'], ['recv', 'receive', 'k5'], ['allreduce', 'all-reduce', 'k6'], ['optimizer', 'optimizer', 'k7'], ['checkpoint', 'checkpoint', 'k8'], ['', 'other', 'k9'],
];

function kindOf(name) {
  if (name.endsWith('.send')) return 'send';
  if (name.endsWith('.recv')) return 'recv';
  return kinds.some(k => k[0] === name) ? name : '';
}

export function timeline(store, run) {
  const t = run.trace, steps = [...run.steps.keys()].sort((a, b) => a - b);
  if (!steps.length) return html`<p class="none">No step was made yet.</p>`;
  const first = steps[0], last = steps.at(-1);
  const shown = t.newest && !t.data ? last : t.step || last;
  const go = n => run.showStep(Math.min(last, Math.max(first, n)));
  const made = run.steps.get(shown);
  return html`<div class="stepbar">
      <button type="button" onClick=${() => go(shown - 1)} disabled=${shown <= first}>‹ Earlier</button>
      <label>Step <input type="number" min=${first} max=${last} value=${shown} onChange=${e => { const n = Number.parseInt(e.target.value, 10); if (n > 0) go(n); }}/></label>
      <button type="button" onClick=${() => go(shown + 1)} disabled=${shown >= last}>Later ›</button>
      <label><input type="checkbox" checked=${t.newest} onChange=${e => run.showStep(e.target.checked ? 0 : shown)}/> follow the newest</label>
      ${store.jaeger && made && html`<a href=${`/trace/${run.id}/${made.generation}/${shown}`} target="_blank" rel="noopener noreferrer">Step ${shown} in Jaeger ↗</a>`}
      ${t.data && html`<span class="id">trace ${t.data.trace_id}</span>`}
    </div>
    ${durations(run, steps.slice(-mostSteps), shown)}
    ${t.data ? waterfall(t.data) : html`<p class="none">${t.why ? `No trace of step ${shown}: ${t.why}.` : 'Asking for the trace…'}</p>`}
    ${t.data && t.why ? html`<p class="note">Newer: ${t.why}</p>` : null}`;
}

// durations are bars, one a step, each a button.
function durations(run, steps, shown) {
  const most = Math.max(...steps.map(n => run.steps.get(n).step_seconds), 1e-9);
  return html`<div class="durations" role="group" aria-label=${`Time of the last ${steps.length} steps, the longest ${seconds(most)}`}>
    ${steps.map(n => { const s = run.steps.get(n); return html`<button type="button" key=${n} class="duration" aria-pressed=${n === shown} title=${`step ${n}: ${seconds(s.step_seconds)}`} aria-label=${`Step ${n}, ${seconds(s.step_seconds)}`}
      tabindex=${n === shown || !steps.includes(shown) && n === steps.at(-1) ? 0 : -1} onKeyDown=${arrows} onClick=${() => run.showStep(n)}><span style=${{height: `${Math.max(3, 100 * s.step_seconds / most)}%`}}></span></button>`; })}</div>`;
}

// arrows moves the focus among the bars, of which one is reached by Tab.
function arrows(e) {
  const next = {ArrowLeft: e.currentTarget.previousElementSibling, ArrowRight: e.currentTarget.nextElementSibling}[e.key];
  if (next) { e.preventDefault(); next.focus(); }
}

function waterfall(trace) {
  const spans = (trace.spans ?? []).map(s => ({...s, from: Date.parse(s.start), to: Date.parse(s.end), fine: micros(s.start), fineEnd: micros(s.end)})).filter(s => s.fineEnd >= s.fine);
  if (!spans.length) return html`<p class="none">The trace of step ${trace.step} has no spans.</p>`;
  const begin = Math.min(...spans.map(s => s.fine)), end = Math.max(...spans.map(s => s.fineEnd)), span = Math.max(end - begin, 1);
  const parents = new Set(spans.map(s => s.parent_span_id).filter(Boolean));
  const rows = new Map();
  for (const s of spans) {
    if (s.name === 'step' || s.name === 'microbatch' || parents.has(s.span_id) && kindOf(s.name) === '') continue;
    const a = s.attributes ?? {}, key = `${s.node}\n${s.service}`;
    if (!rows.has(key)) rows.set(key, {node: s.node, service: s.service.replace(/^ressa-/, ''), spans: [], stages: new Set()});
    const row = rows.get(key);
    row.spans.push(s);
    if (a['ressa.stage'] !== undefined) row.stages.add(a['ressa.stage']);
  }
  const list = [...rows.values()].sort((a, b) => rankOf(a) - rankOf(b) || a.service.localeCompare(b.service) || a.node.localeCompare(b.node, undefined, {numeric: true}));
  const used = kinds.filter(k => spans.some(s => s.name !== 'step' && s.name !== 'microbatch' && kindOf(s.name) === k[0]));
  const at = s => `${100 * (s.fine - begin) / span}%`, wide = s => `${Math.max(0.08, 100 * (s.fineEnd - s.fine) / span)}%`;
  return html`<figure class="waterfall"><figcaption>Step ${trace.step} of generation ${trace.generation}: <b>${seconds(span / 1e6)}</b>
      <ul class="legend" aria-label="Legend">${used.map(k => html`<li><svg aria-hidden="true" width="14" height="12"><rect class=${`span ${k[2]}`} width="14" height="12"/>${hatch(k[2], 0, 14, 12)}</svg>${k[1]}</li>`)}</ul></figcaption>
    ${(trace.missing ?? []).map(m => html`<p class="warn">▲ Spans of node ${m.node} are missing: ${m.reason}</p>`)}
    <div class="ranks" aria-hidden="true">${list.map(row => { const lanes = pack(row.spans); return html`<div class="rankline" key=${`${row.node}${row.service}`}><div class="rankname"><b>${row.service}</b>${row.stages.size ? ` stage ${[...row.stages].sort().join(', ')}` : ''} <span class="name">${row.node}</span></div>
      <svg class="spans" width="100%" height=${lanes.length * lane}>${lanes.flatMap((spans, y) => spans.map(s => { const look = kinds.find(k => k[0] === kindOf(s.name))[2]; return html`<g><title>${about(s, begin)}</title><rect class=${`span ${look} ${s.error ? 'failed' : ''}`} x=${at(s)} y=${y * lane + 1} width=${wide(s)} height=${lane - 3}/>
        ${look.includes('back') ? html`<rect class="hatch" x=${at(s)} y=${y * lane + lane / 2 - 1.5} width=${wide(s)} height="2"/>` : null}</g>`; }))}</svg></div>`; })}
      <div class="rankline axis"><div></div><div class="ticks">${[0, 25, 50, 75, 100].map(p => html`<span style=${{left: `${p}%`}}>${seconds(span / 1e6 * p / 100)}</span>`)}</div></div></div>
    <details><summary>As a table: time by rank and phase</summary>${sums(list, used, span)}</details></figure>`;
}

const order = ['vision', 'language'];
const rankOf = row => { const i = order.findIndex(o => row.service.startsWith(o)); return i < 0 ? order.length : i; };

// micros reads a time to the microsecond, which Date does not.
function micros(text) {
  const m = /\.(\d+)/.exec(text);
  return Math.floor(Date.parse(text.replace(/\.\d+/, '')) / 1000) * 1e6 + (m ? Number.parseInt(m[1].padEnd(6, '0').slice(0, 6), 10) : 0);
}

function hatch(look, y, w, h) { return look.includes('back') ? html`<rect class="hatch" y=${y + h / 2 - 1} width=${w} height="2"/>` : null; }

function about(s, begin) {
  const a = s.attributes ?? {}, more = ['ressa.microbatch', 'ressa.edge', 'ressa.peer', 'ressa.bytes'].filter(k => a[k] !== undefined).map(k => `${k.slice(6)} ${a[k]}`);
  return `${s.name}, ${seconds((s.fineEnd - s.fine) / 1e6)}, from ${seconds((s.fine - begin) / 1e6)}${more.length ? `\n${more.join(', ')}` : ''}${s.error ? `\nfailed: ${s.error}` : ''}`;
}

// pack puts spans that overlap into lanes of their own.
function pack(spans) {
  const lanes = [];
  for (const s of [...spans].sort((a, b) => a.fine - b.fine || b.fineEnd - a.fineEnd)) {
    const free = lanes.find(l => l.at(-1).fineEnd <= s.fine);
    if (free) free.push(s); else lanes.push([s]);
  }
  return lanes;
}

function sums(list, used, span) {
  return scroll('Time by rank and phase', html`<table><thead><tr><th scope="col">Rank</th><th scope="col">Node</th>${used.map(k => html`<th scope="col">${k[1]}</th>`)}</tr></thead><tbody>
    ${list.map(row => html`<tr><th scope="row">${row.service}</th><td class="name">${row.node}</td>${used.map(k => { const sum = row.spans.filter(s => kindOf(s.name) === k[0]).reduce((n, s) => n + s.fineEnd - s.fine, 0);
      return html`<td class="num">${sum ? `${seconds(sum / 1e6)} (${(100 * sum / span).toFixed(0)} %)` : '–'}</td>`; })}</tr>`)}</tbody></table>`);
}
