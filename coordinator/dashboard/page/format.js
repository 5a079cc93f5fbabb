// How values are worded.

export function seconds(s) {
  if (!Number.isFinite(s)) return '–';
  if (s < 0) s = 0;
  if (s < 1e-3) return `${(s * 1e6).toFixed(0)} µs`;
  if (s < 1) return `${(s * 1e3).toFixed(s < 0.01 ? 1 : 0)} ms`;
  if (s < 60) return `${s.toFixed(1)} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${Math.floor(s % 60)} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor(s % 3600 / 60)} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor(s % 86400 / 3600)} h`;
}

export function bytes(n) {
  if (!Number.isFinite(n)) return '–';
  for (const [unit, size] of [['TB', 1e12], ['GB', 1e9], ['MB', 1e6], ['kB', 1e3]]) {
    if (n >= size) return `${(n / size).toFixed(n < 10 * size ? 1 : 0)} ${unit}`;
  }
  return `${n} B`;
}

export function flops(n) {
  if (!(n > 0)) return '–';
  return n >= 1e12 ? `${(n / 1e12).toFixed(1)} Tflop/s` : `${(n / 1e9).toFixed(n < 1e10 ? 1 : 0)} Gflop/s`;
}

export function percent(p) { return Number.isFinite(p) ? `${p.toFixed(2)} %` : '–'; }

export function number(x) {
  if (!Number.isFinite(x)) return '–';
  const a = Math.abs(x);
  if (a !== 0 && (a < 1e-3 || a >= 1e6)) return x.toExponential(2);
  return a >= 100 ? x.toFixed(1) : x.toFixed(4);
}

// time is a moment of today by the clock of whoever looks; of other days with the date.
export function time(text) {
  const t = new Date(text);
  if (!text || Number.isNaN(t.getTime()) || t.getUTCFullYear() < 2000) return '–';
  const clock = t.toLocaleTimeString([], {hour12: false});
  return t.toDateString() === new Date().toDateString() ? clock : `${t.toLocaleDateString()} ${clock}`;
}

export function exact(text) {
  const t = new Date(text);
  return Number.isNaN(t.getTime()) ? '' : t.toISOString();
}

// states: a mark, a word and a tone, so that nothing depends on colour alone.
const marks = {
  pending: ['○', 'idle'], starting: ['◔', 'busy'], running: ['●', 'busy'], cancelling: ['◌', 'warn'],
  succeeded: ['✓', 'good'], failed: ['✗', 'bad'], cancelled: ['⊘', 'idle'],
  ready: ['●', 'good'], draining: ['◑', 'warn'], unfit: ['▲', 'bad'], lost: ['✗', 'bad'], left: ['○', 'idle'],
};

export function markOf(state) {
  const [mark, tone] = Object.hasOwn(marks, state) ? marks[state] : ['?', 'idle'];
  return {mark, tone};
}

export const over = state => state === 'succeeded' || state === 'failed' || state === 'cancelled';
