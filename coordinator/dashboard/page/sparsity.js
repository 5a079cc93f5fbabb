// How sparse each layer is: a row a block, a column a linear.
import {html} from './html.js';
import {scroll} from './parts.js';

export function sparsity(layers) {
  if (!layers.length) return html`<p class="none">Nothing was pruned yet.</p>`;
  const towers = new Map();
  for (const l of layers) {
    const {block, linear} = placeOf(l.name);
    if (!towers.has(l.tower)) towers.set(l.tower, {blocks: new Map(), linears: []});
    const t = towers.get(l.tower);
    if (!t.linears.includes(linear)) t.linears.push(linear);
    if (!t.blocks.has(block)) t.blocks.set(block, new Map());
    t.blocks.get(block).set(linear, l);
  }
  return html`<div class="two">${[...towers].map(([name, t]) => map(name, t))}</div>`;
}

// placeOf splits model.layers.3.self_attn.q_proj.weight into block 3 and self_attn.q_proj.
function placeOf(name) {
  const m = /(?:^|\.)(?:layers|blocks|block|layer|h)\.(\d+)\.(.+)$/.exec(name);
  const trim = s => s.replace(/\.weight$/, '');
  return m ? {block: m[1], linear: trim(m[2])} : {block: '–', linear: trim(name)};
}

function map(name, t) {
  const all = [...t.blocks.values()].flatMap(b => [...b.values()]), mean = all.reduce((n, l) => n + l.sparsity, 0) / all.length;
  return html`<div><h3>${name} tower <span class="note">${(100 * mean).toFixed(1)} % on average</span></h3>
    ${scroll(`Sparsity of the ${name} tower`, html`<table class="map"><thead><tr><th scope="col">Block</th>${t.linears.map(l => html`<th scope="col"><span title=${l}>${l.split('.').at(-1)}</span></th>`)}</tr></thead><tbody>
    ${[...t.blocks].map(([block, ls]) => html`<tr key=${block}><th scope="row">${block}</th>${t.linears.map(l => { const x = ls.get(l); return x ? html`<td title=${`${x.name}: ${(100 * x.sparsity).toFixed(2)} %`} style=${{'--s': String(x.sparsity)}}>${(100 * x.sparsity).toFixed(1)}</td>` : html`<td>–</td>`; })}</tr>`)}</tbody></table>`)}</div>`;
}
