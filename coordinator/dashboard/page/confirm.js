// The dialog that asks before something is done.
import {html, Component, createRef} from './html.js';
import {act, changed, say} from './store.js';

// Dialog is the browser's own modal one: it keeps the focus and gives it back.
class Dialog extends Component {
  box = createRef();
  componentDidMount() { this.box.current.showModal(); }
  componentWillUnmount() { if (this.box.current?.open) this.box.current.close(); }
  render({label, onClose, children}) {
    return html`<dialog ref=${this.box} aria-labelledby=${label} onClose=${onClose} onCancel=${onClose}>${children}</dialog>`;
  }
}

export function confirmation(store) {
  const a = store.ask;
  if (!a) return null;
  // A dialog says late that it was closed, when another question may be there.
  const done = () => { if (store.ask === a) { store.ask = null; changed(); } };
  const go = async () => {
    a.busy = true;
    a.why = '';
    changed();
    try {
      await act(a.path, a.body);
      say(a.done);
      done();
    } catch (e) {
      a.busy = false;
      a.why = e.message;
      changed();
    }
  };
  return html`<${Dialog} label="ask" onClose=${done}>
    <h2 id="ask">${a.title}</h2>
    <p>${a.text}</p>
    ${a.why && html`<p class="bad" role="alert">It was not done: ${a.why}</p>`}
    <div class="buttons">
      <button type="button" autofocus onClick=${done}>${a.no ?? 'Go back'}</button>
      <button type="button" class=${a.danger ? 'danger' : 'first'} disabled=${a.busy} onClick=${go}>${a.busy ? 'Asking…' : a.yes}</button>
    </div>
  <//>`;
}

export const cancelling = j => ({
  danger: true, title: `Cancel job ${j.name}?`, yes: 'Cancel the job', no: 'Let it run', path: `/v1/jobs/${j.id}/cancel`, done: `Job ${j.name} is being cancelled`,
  text: `Job ${j.id} stops on all its nodes. It can be resumed from its last checkpoint.`,
});

export const draining = (n, drain) => ({
  title: drain ? `Drain node ${n.name}?` : `Let jobs on node ${n.name} again?`, yes: drain ? 'Drain' : 'Let jobs on it', path: `/v1/nodes/${encodeURIComponent(n.name)}/drain`, body: {drain},
  done: drain ? `Node ${n.name} is draining` : `Node ${n.name} takes jobs again`,
  text: drain ? 'It gets no new job. What it works on goes on.' : 'It gets jobs as other nodes do.',
});
