// One job that is looked at in full: its record and history from the cluster's stream,
// its curves and scores from its own events, its log, and traces of its steps.
import {follow, withQuery} from './stream.js';
import {over} from './format.js';

const mostLines = 1000, traceEvery = 2000;

export class Run {
  constructor(id, changed) {
    this.id = id;
    this.changed = changed;
    this.job = null;
    this.history = {decisions: [], changes: []};
    this.steps = new Map(); // by number; one that was made again replaces the first
    this.last = null; // the newest step
    this.scores = new Map(); // by whose
    this.validations = [];
    this.layers = [];
    this.phases = [];
    this.progress = null;
    this.past = new Map(); // generation → ranks that were seen in it
    this.log = {lines: [], search: '', open: false, stop: () => {}, alive: true};
    this.trace = {step: 0, newest: true, data: null, why: '', asked: 0, timer: 0};
    this.stopEvents = null;
  }

  close() {
    this.closed = true;
    if (this.stopEvents) this.stopEvents();
    this.log.stop();
    clearTimeout(this.trace.timer);
  }

  // reopen follows a connection that was lost and is back.
  reopen() {
    this.stopEvents?.again?.();
    this.log.stop.again?.();
  }

  // take hears what the cluster says.
  take(e) {
    if (e.job) {
      const before = this.job;
      this.job = e.job;
      if (e.job.status.ranks.length && !e.job.result) this.past.set(e.job.status.generation, e.job.status.ranks);
      if (!this.stopEvents || before && over(before.status.state) && !over(e.job.status.state)) this.listen();
    }
    if (e.history) this.history = e.history;
  }

  listen() {
    if (this.stopEvents) this.stopEvents();
    this.steps.clear();
    this.validations = [];
    this.phases = [];
    this.stopEvents = follow(after => withQuery(`/v1/jobs/${this.job.id}/events`, {after}), line => { this.event(line); this.changed(); }, {silent: true});
  }

  event(line) {
    const e = line.event;
    if (!e || line.worker !== 0 && e.event !== 'note') return;
    if (e.step) {
      const s = {...e.step, generation: line.generation, at: Date.parse(line.at) / 1000};
      if (this.steps.get(s.step)?.generation > s.generation) return; // lines of an older one came late
      this.steps.set(s.step, s);
      if (!this.last || s.generation > this.last.generation || s.generation === this.last.generation && s.step > this.last.step) this.last = s;
      this.progress = null;
      if (this.trace.newest) this.wantTrace();
    }
    if (e.layers?.length) this.layers = e.layers;
    if (e.event === 'score' && e.score) this.scores.set(e.of, e.score);
    if (e.event === 'validation' && e.score) this.validations.push({step: this.last?.step ?? 0, ...e.score});
    if (e.event === 'phase') {
      this.phases.push({phase: e.phase, message: e.message ?? '', at: line.at, generation: line.generation});
      this.progress = null;
    }
    if (e.event === 'progress') this.progress = {of: e.of, done: e.done, total: e.total};
  }

  // left is how many seconds are left of training, by the pace of the last steps.
  left() {
    if (!this.last || this.job?.status.phase !== 'train') return NaN;
    const from = this.steps.get(Math.max(1, this.last.step - 20));
    if (!from || from.step === this.last.step || from.generation !== this.last.generation) return this.last.step_seconds * (this.last.steps - this.last.step);
    return (this.last.at - from.at) / (this.last.step - from.step) * (this.last.steps - this.last.step);
  }

  // openLog follows the log's last lines, or with a search the lines that have its text.
  openLog(search) {
    this.log.stop();
    Object.assign(this.log, {open: true, search, lines: [], alive: true});
    const first = search ? {search} : {tail: mostLines};
    this.log.stop = follow(after => withQuery(`/v1/jobs/${this.id}/logs`, {follow: 1, ...(after ? {after, search} : first)}), line => {
      this.log.lines.push(line);
      if (this.log.lines.length > mostLines) this.log.lines.splice(0, this.log.lines.length - mostLines);
      this.changed();
    }, {silent: true, alive: ok => { this.log.alive = ok; this.changed(); }});
  }

  closeLog() {
    this.log.stop();
    this.log.open = false;
  }

  // showStep looks at one step, or follows the newest with 0.
  showStep(step) {
    this.trace.newest = step === 0;
    if (step !== 0) this.trace.step = step;
    this.trace.asked = 0;
    this.wantTrace();
    this.changed();
  }

  // wantTrace asks for a trace, not more often than people can look at one.
  wantTrace() {
    if (this.closed || this.trace.timer) return;
    const wait = Math.max(50, this.trace.asked + traceEvery - performance.now());
    this.trace.timer = setTimeout(async () => {
      await this.askTrace();
      this.trace.timer = 0;
      this.changed();
    }, this.trace.asked ? wait : 0);
  }

  // askTrace asks for a step, or for the newest that all nodes have finished.
  async askTrace() {
    const t = this.trace, newest = t.newest, step = t.step;
    t.asked = performance.now();
    if (document.hidden) return;
    try {
      const of = newest ? {} : {step, generation: this.steps.get(step)?.generation};
      const answer = await fetch(withQuery(`/v1/jobs/${this.id}/trace`, of));
      const said = await answer.json();
      if (!answer.ok) throw new Error(said.error ?? answer.statusText);
      if (t.newest !== newest || !newest && t.step !== step) return; // something else is looked at by now
      t.data = said;
      t.step = said.step;
      t.why = '';
    } catch (e) {
      t.why = e.message;
      if (!t.newest) t.data = null;
    }
  }
}
