// Curves, as SVG that stretches with the page; its labels are text beside it.
import {html, Component} from './html.js';
import {number, percent} from './format.js';

const W = 1000, H = 260, mostPoints = 400;

export function lossChart(run) {
  const steps = [...run.steps.values()].sort((a, b) => a.step - b.step);
  if (steps.length < 1) return html`<p class="none">No step was made yet.</p>`;
  const curve = (key, name) => ({key, name, points: thin(steps.map(s => [s.step, s[key]]).filter(p => Number.isFinite(p[1])))});
  const breaks = [];
  for (let i = 1; i < steps.length; i++) if (steps[i].generation !== steps[i - 1].generation) breaks.push({x: steps[i].step, text: `generation ${steps[i].generation}`});
  const curves = [curve('loss', 'loss'), curve('ce', 'cross-entropy'), curve('kl', 'distillation')];
  const last = steps.at(-1);
  return html`<${Chart} label="Loss by step" x="step" curves=${curves} breaks=${breaks} format=${number} end=${last.steps}/>
    <details><summary>Last steps as a table</summary><div class="scroll" tabindex="0" role="region" aria-label="Last steps"><table><thead><tr>${['Step', 'Generation', 'Loss', 'Cross-entropy', 'Distillation', 'Gradient norm', 'Learning rate'].map(c => html`<th scope="col">${c}</th>`)}</tr></thead>
    <tbody>${steps.slice(-20).reverse().map(s => html`<tr key=${s.step}>${[s.step, s.generation, number(s.loss), number(s.ce), number(s.kl), number(s.grad_norm), number(s.learning_rate)].map(v => html`<td class="num">${v}</td>`)}</tr>`)}</tbody></table></div></details>`;
}

export function scoreChart(run) {
  const v = run.validations;
  if (!v.length) return html`<p class="none">No validation was made yet, or the job makes none.</p>`;
  return html`<${Chart} label="Validation score by step" x="step" format=${percent} end=${run.last?.steps}
    curves=${[{key: 'score', name: 'score', points: v.map(s => [s.step, s.score]), dots: true}]} breaks=${[]} band=${v.map(s => [s.step, s.low, s.high])}/>
    <details><summary>As a table</summary><table><thead><tr><th scope="col">Step</th><th scope="col">Score</th><th scope="col">95 % interval</th></tr></thead>
    <tbody>${v.slice(-30).map(s => html`<tr><td class="num">${s.step}</td><td class="num">${percent(s.score)}</td><td class="num">${s.low.toFixed(1)} – ${s.high.toFixed(1)}</td></tr>`)}</tbody></table></details>`;
}

// thin averages neighbours, so that a long run costs no more to draw than a short one.
function thin(points) {
  if (points.length <= mostPoints) return points;
  const out = [], size = points.length / mostPoints;
  for (let i = 0; i < mostPoints; i++) {
    const part = points.slice(Math.floor(i * size), Math.floor((i + 1) * size));
    out.push([part.at(-1)[0], part.reduce((sum, p) => sum + p[1], 0) / part.length]);
  }
  return out;
}

// nice returns round numbers from lo to hi.
function nice(lo, hi, about) {
  const span = hi - lo || Math.abs(hi) || 1, raw = span / about, ten = 10 ** Math.floor(Math.log10(raw));
  const size = [1, 2, 5, 10].map(m => m * ten).find(s => s >= raw);
  const out = [];
  for (let v = Math.ceil(lo / size) * size; v <= hi + size * 1e-6; v += size) out.push(Math.abs(v) < size * 1e-6 ? 0 : v);
  return {ticks: out, digits: Math.max(0, -Math.floor(Math.log10(size) + 1e-9))};
}

class Chart extends Component {
  render({label, x, curves, breaks, format, band, end}, {at}) {
    const all = curves.flatMap(c => c.points);
    const xs = all.map(p => p[0]), ys = all.map(p => p[1]).concat((band ?? []).flatMap(b => [b[1], b[2]]));
    let x0 = Math.min(...xs, 1), x1 = Math.max(...xs, 2), y0 = Math.min(...ys), y1 = Math.max(...ys);
    if (curves.some(c => c.key === 'loss')) y0 = Math.min(0, y0);
    if (y1 - y0 < 1e-12) { y1 += Math.abs(y1) * 0.1 || 1; y0 -= Math.abs(y0) * 0.1; }
    const {ticks, digits} = nice(y0, y1, 4), steps = nice(x0, x1, 5).ticks.filter(t => Number.isInteger(t));
    const px = v => (v - x0) / (x1 - x0) * W, py = v => H - (v - y0) / (y1 - y0) * H;
    const line = points => points.map((p, i) => `${i ? 'L' : 'M'}${px(p[0]).toFixed(1)} ${py(p[1]).toFixed(1)}`).join('');
    const move = e => {
      const box = e.currentTarget.getBoundingClientRect();
      this.setState({at: x0 + (e.clientX - box.left) / box.width * (x1 - x0)});
    };
    const key = e => {
      const step = {ArrowLeft: -1, ArrowRight: 1, Home: -1e9, End: 1e9}[e.key];
      if (step === undefined) return;
      e.preventDefault();
      const points = curves[0].points, i = at === undefined ? points.length - 1 : nearest(points, at);
      this.setState({at: points[Math.min(points.length - 1, Math.max(0, i + step))][0]});
    };
    const here = at === undefined ? null : curves.map(c => ({...c, p: c.points[nearest(c.points, at)]}));
    const shown = here ?? curves.map(c => ({...c, p: c.points.at(-1)}));
    const edge = v => `${Math.min(100, Math.max(0, v))}%`;
    return html`<figure class="chart">
      <figcaption>${shown.map((c, i) => html`<span class=${`key c${i}`}><svg aria-hidden="true" width="22" height="10"><line class=${`curve c${i}`} x1="0" x2="22" y1="5" y2="5"/></svg>${c.name} <b>${c.p ? format(c.p[1]) : '–'}</b></span>`)}
        <span class="note">at ${x} ${shown[0].p?.[0]}${here ? '' : ', the last'}</span></figcaption>
      <div class="plot"><div class="ys" aria-hidden="true">${ticks.map(t => html`<span style=${{top: edge(py(t) / H * 100)}}>${t.toFixed(digits)}</span>`)}</div>
        <div class="area" tabindex="0" role="img" aria-label=${`${label}: ${shown.map(c => `${c.name} ${c.p ? format(c.p[1]) : 'none'}`).join(', ')} at ${x} ${shown[0].p?.[0]}. Arrow keys move along the curve.`}
          onMouseMove=${move} onMouseLeave=${() => this.setState({at: undefined})} onKeyDown=${key} onBlur=${() => this.setState({at: undefined})}>
          <svg aria-hidden="true" viewBox=${`0 0 ${W} ${H}`} preserveAspectRatio="none">
            ${ticks.map(t => html`<line class="grid" x1="0" x2=${W} y1=${py(t)} y2=${py(t)}/>`)}
            ${breaks.map(b => html`<line class="break" x1=${px(b.x)} x2=${px(b.x)} y1="0" y2=${H}><title>${b.text}</title></line>`)}
            ${band && html`<path class="band" d=${`${line(band.map(b => [b[0], b[2]]))}${line([...band].reverse().map(b => [b[0], b[1]])).replace('M', 'L')}Z`}/>`}
            ${curves.map((c, i) => html`<path class=${`curve c${i}`} d=${c.points.length === 1 ? `${line(c.points)}h4` : line(c.points)}/>`)}
            ${here && here[0].p && html`<line class="at" x1=${px(here[0].p[0])} x2=${px(here[0].p[0])} y1="0" y2=${H}/>`}
          </svg>
          ${curves.filter(c => c.dots || c.points.length === 1).flatMap((c, i) => c.points.map(p => html`<span class=${`dot c${i}`} style=${{left: edge(px(p[0]) / W * 100), top: edge(py(p[1]) / H * 100)}}></span>`))}
          ${breaks.map(b => html`<span class="breakname" style=${{left: edge(px(b.x) / W * 100)}}>${b.text}</span>`)}
        </div>
        <div class="xs" aria-hidden="true">${steps.map(t => html`<span style=${{left: edge(px(t) / W * 100)}}>${t}</span>`)}</div></div>
      ${end && end > x1 ? html`<p class="note">${x} ${Math.round(x1)} of ${end}</p>` : null}</figure>`;
  }
}

function nearest(points, at) {
  let best = 0;
  for (let i = 1; i < points.length; i++) if (Math.abs(points[i][0] - at) < Math.abs(points[best][0] - at)) best = i;
  return best;
}
