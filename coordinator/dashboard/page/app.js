// The page: what is drawn where, by the address after #.
import {html, render} from './html.js';
import {store, onChange, changed, watch} from './store.js';
import {overview} from './overview.js';
import {job} from './job.js';
import {confirmation} from './confirm.js';

function route() {
  if (location.hash !== '' && !location.hash.startsWith('#/')) return; // a place on the page
  const m = location.hash.match(/^#\/jobs\/([A-Za-z0-9]{1,64})$/);
  watch(m ? m[1] : '');
  window.scrollTo(0, 0);
  changed();
}

function connection() {
  if (store.connected) {
    const led = store.cluster.leader === store.coordinator ? 'which leads' : store.cluster.leader ? `led by ${store.cluster.leader}` : 'nobody leads';
    return html`<span class="link good"><span aria-hidden="true">●</span> live from <span class="name">${store.coordinator}</span>, ${led}</span>`;
  }
  return html`<span class="link bad" role="alert"><span aria-hidden="true">✗</span> not connected: ${store.why}; trying again. What is shown is old.</span>`;
}

function page() {
  const main = store.missing
    ? html`<p class="plain">${store.missing}</p><p class="plain"><a href="#/">All jobs</a></p>`
    : store.run ? job(store) : overview(store);
  document.title = store.run?.job ? `${store.run.job.status.state} · ${store.run.job.name} · Ressa` : 'Ressa';
  return html`
    <header class="top">
      <a class="brand" href="#/">Ressa</a>
      <nav aria-label="Pages"><a href="#/" aria-current=${store.run ? undefined : 'page'}>Cluster</a></nav>
      ${connection()}
    </header>
    <main id="main" tabindex="-1">${main}</main>
    <footer>Ressa ${store.version}${store.jaeger && html` · <a href=${store.jaeger} rel="noreferrer">Jaeger</a>`} · <a href="/v1/openapi.json">API</a></footer>
    ${confirmation(store)}`;
}

onChange(() => render(page(), document.getElementById('app')));
window.addEventListener('hashchange', route);
setInterval(changed, 1000); // ages grow
route();
