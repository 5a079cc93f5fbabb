// The lines of all ranks, with a search that the coordinator makes.
import {html, Component, createRef} from './html.js';
import {section, moment} from './parts.js';

export function logs(run) {
  const log = run.log;
  let timer = 0;
  const search = e => {
    clearTimeout(timer);
    const text = e.target.value.trim();
    timer = setTimeout(() => { if (text !== run.log.search || !run.log.open) run.openLog(text); run.changed(); }, 300);
  };
  const toggle = () => { if (log.open) run.closeLog(); else run.openLog(log.search); run.changed(); };
  const tools = html`<span class="tools">
    <label class="find">Search <input type="search" value=${log.search} placeholder="text, node or level" onInput=${search}/></label>
    <button type="button" aria-expanded=${log.open} aria-controls="lines" onClick=${toggle}>${log.open ? 'Close' : 'Open'}</button></span>`;
  return section('logs', 'Log', html`<div id="lines">${!log.open ? html`<p class="none">Closed: nothing is fetched.</p>`
    : html`${!log.alive && html`<p class="bad">✗ The stream of lines is broken; trying again.</p>`}
      ${log.lines.length ? html`<${Lines} lines=${log.lines} count=${log.lines.length}/>` : html`<p class="none">${log.search ? `No line has “${log.search}”.` : 'No line yet.'}</p>`}`}</div>`, tools);
}

// Lines stays at the newest line unless somebody has scrolled away from it.
class Lines extends Component {
  box = createRef();
  getSnapshotBeforeUpdate() { const b = this.box.current; return b.scrollHeight - b.scrollTop - b.clientHeight < 40; }
  componentDidMount() { this.end(); }
  componentDidUpdate(_, __, atEnd) { if (atEnd) this.end(); }
  end() { this.box.current.scrollTop = this.box.current.scrollHeight; }
  render({lines}) {
    return html`<div ref=${this.box} class="lines" tabindex="0" role="log" aria-live="off" aria-label="Lines of the log">${lines.map(l => html`<div class=${`line ${tone(l.level)}`} key=${`${l.generation}-${l.worker}-${l.seq}`}>
      ${moment(l.at)} <span class="name">${l.node}</span> <span class="id">gen ${l.generation}</span> ${l.level && html`<b>${l.level}</b> `}<span class="text">${l.text}</span></div>`)}</div>`;
  }
}

function tone(level) { return /^(error|fatal)/i.test(level ?? '') ? 'bad' : /^warn/i.test(level ?? '') ? 'warn' : ''; }
