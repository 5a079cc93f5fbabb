// One job.
import {html} from './html.js';
import {over, seconds, percent, number} from './format.js';
import {state, moment, bar, section, button, decisions} from './parts.js';
import {cancelling} from './confirm.js';
import {tree} from './tree.js';
import {timeline} from './timeline.js';
import {lossChart, scoreChart} from './charts.js';
import {sparsity} from './sparsity.js';
import {logs} from './logs.js';

export function job(store) {
  const run = store.run, j = run.job;
  if (!j) return html`<p class="plain" role="status">Looking for job ${run.id}…</p>`;
  return html`<div class="jobhead">
      <p class="path"><a href="#/">Jobs</a> / <span class="id">${j.id}</span></p>
      <div class="head"><h1><span class="name">${j.name}</span></h1> ${state(j.status.state)}
        ${over(j.status.state) || j.status.state === 'cancelling' ? null : button('Cancel job', cancelling(j), `Cancel job ${j.name}`)}</div>
      ${facts(run, j)}
    </div>
    ${recovery(run, j)}
    <div class="two">
      ${section('tree', 'Generations and ranks', tree(store, run))}
      ${section('scores', 'Scores', scores(run, j))}
    </div>
    ${section('timeline', 'Steps', timeline(store, run))}
    <div class="two">
      ${section('loss', 'Loss', lossChart(run))}
      ${section('validation', 'Validation score', scoreChart(run))}
    </div>
    ${section('sparsity', 'Sparsity by layer', sparsity(run.layers))}
    ${section('history', 'Decisions', decisions([...run.history.decisions].reverse(), 'Decisions about the job'), html`<span class="note">newest first</span>`)}
    ${logs(run)}`;
}

function facts(run, j) {
  const s = j.status, last = run.last, p = run.progress;
  const fact = (name, value) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`;
  const scored = j.result?.recovery;
  return html`<dl class="facts">
      ${fact('Phase', over(s.state) ? '–' : s.phase || '–')}
      ${fact('Step', s.steps ? html`${Math.max(s.step, last?.step ?? 0)} of ${s.steps}` : '–')}
      ${fact('Time left', over(s.state) ? '–' : seconds(run.left()))}
      ${fact('Loss', last ? number(last.loss) : '–')}
      ${fact('Step time', last ? seconds(last.step_seconds) : '–')}
      ${fact('Tokens/s', last?.step_seconds > 0 ? (last.tokens / last.step_seconds).toFixed(0) : '–')}
      ${fact('Recovery', scored !== undefined ? percent(100 * scored) : '–')}
      ${fact('Submitted', moment(j.submitted))}
      ${fact(over(s.state) ? 'Ended' : 'Started', moment(over(s.state) ? j.ended : j.started))}
    </dl>
    ${bar(Math.max(s.step, last?.step ?? 0), s.steps, 'Steps')}
    ${p && !over(s.state) && html`<p class="note">${p.of}: ${p.done} of ${p.total} ${bar(p.done, p.total, p.of)}</p>`}
    ${j.reason && s.state !== 'running' && html`<p class=${s.state === 'failed' ? 'bad' : 'note'}>${j.reason}</p>`}
    ${s.stalled && html`<p class="bad">▲ ${s.stalled}</p>`}`;
}

// recovery says how the last change of generation went.
function recovery(run, j) {
  const c = run.history.changes.at(-1);
  if (!c) return null;
  const open = !c.from && !over(j.status.state);
  const lost = run.history.changes.reduce((n, x) => n + (x.steps_lost || 0), 0);
  const where = {memory: `after step ${c.step}, from memory`, checkpoint: `from the checkpoint of step ${c.step} on ${c.holder}`, start: 'from the start'}[c.from];
  return html`<div class=${`notice ${open ? 'warn' : c.from ? 'good' : 'idle'}`} role="status" data-generation=${c.generation} data-recovered=${c.from ? 'yes' : 'no'}>
    <b>${open ? '◔ Recovering' : c.from ? '✓ Recovered' : 'Last change'}: generation ${c.generation}</b>
    <span class="long">${c.cause}.</span>
    ${c.from ? html`<span>Training went on ${where}; ${c.pause > 0 ? `${seconds(c.pause)} without steps, ` : ''}${c.steps_lost === 1 ? '1 step' : `${c.steps_lost} steps`} made again.</span>` : html`<span>Planned ${moment(c.planned)}; training ${open ? 'has not gone on yet' : 'did not go on'}.</span>`}
    ${run.history.changes.length > 1 && html`<span class="note">${run.history.changes.length} changes of generation so far, ${lost} steps made again.</span>`}
  </div>`;
}

const whose = [['dense', 'Dense original'], ['pruned', 'Pruned'], ['repaired', 'Repaired'], ['blind', 'Blind (image zeroed)']];

function scores(run, j) {
  const all = whose.map(([key, name]) => ({name, score: j.result?.[key] ?? run.scores.get(key)})).filter(x => x.score);
  if (!all.length) return html`<p class="none">Nothing was scored yet.</p>`;
  return html`<table class="scores"><thead><tr><th scope="col">Model</th><th scope="col">Score</th><th scope="col">95 % interval</th><th scope="col"><span class="unseen">Drawn</span></th></tr></thead><tbody>
    ${all.map(({name, score}) => html`<tr><th scope="row">${name}</th><td class="num">${percent(score.score)}</td><td class="num">${score.low.toFixed(1)} – ${score.high.toFixed(1)}</td>
      <td class="drawn"><svg aria-hidden="true" width="100%" height="16"><rect class="under" width="100%" height="16"/><rect class="fill" width=${`${score.score}%`} height="16"/>
        <line class="range" x1=${`${score.low}%`} x2=${`${score.high}%`} y1="8" y2="8"/></svg></td></tr>`)}</tbody></table>
    ${j.result?.recovery !== undefined && html`<p>Recovery: <b>${percent(100 * j.result.recovery)}</b> of what pruning lost.</p>`}`;
}
