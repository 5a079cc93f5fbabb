// Small parts that several pages show.
import {html} from './html.js';
import {store, age, changed} from './store.js';
import {markOf, seconds, time, exact} from './format.js';

export function state(name, extra) {
  const {mark, tone} = markOf(name);
  return html`<span class=${`state ${tone}`} data-state=${name}><span aria-hidden="true">${mark}</span> ${name}${extra}</span>`;
}

export function moment(text) { return html`<time datetime=${exact(text)} title=${exact(text)}>${time(text)}</time>`; }

export function heard(node) {
  const s = age(node);
  return Number.isFinite(s) ? html`<span class=${s > 2 ? 'warn' : ''}>${seconds(s)} ago</span>` : 'not heard';
}

// bar shows how much of something is done.
export function bar(done, total, label) {
  if (!total) return null;
  return html`<progress max=${total} value=${Math.min(done, total)} aria-label=${label}></progress>`;
}

// section is a part of the page with a heading that names it.
export function section(id, title, body, beside) {
  return html`<section aria-labelledby=${`${id}-title`} id=${id} class="part">
    <div class="head"><h2 id=${`${id}-title`}>${title}</h2>${beside}</div>${body}</section>`;
}

// scroll is a box whose content may be wider than the page; it can be scrolled by keys.
export function scroll(label, body) { return html`<div class="scroll" tabindex="0" role="region" aria-label=${label}>${body}</div>`; }

export function button(text, ask, describe) {
  return html`<button type="button" class=${ask.danger ? 'danger' : ''} aria-label=${describe} onClick=${() => { store.ask = {...ask, why: '', busy: false}; changed(); }}>${text}</button>`;
}

export function decisions(list, label) {
  if (!list.length) return html`<p class="none">Nothing was decided yet.</p>`;
  return scroll(label, html`<table class="decisions"><thead><tr><th scope="col">When</th><th scope="col">What</th><th scope="col">Node</th><th scope="col">Why</th></tr></thead><tbody>
    ${list.map((d, i) => html`<tr key=${`${d.index}-${list.length - i}`}><td data-label="When">${moment(d.at)}</td><td data-label="What"><span class="action">${d.action}</span>${d.job && label !== 'Decisions about the job' ? html` <a href=${`#/jobs/${d.job}`}>${d.job}</a>` : null}</td>
      <td data-label="Node" class="name">${d.node || '–'}</td><td data-label="Why" class="long">${d.reason}</td></tr>`)}</tbody></table>`);
}
