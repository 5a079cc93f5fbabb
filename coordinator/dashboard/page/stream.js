// A stream of server-sent events that is opened again when it breaks, closed while
// nobody looks at the page, and counts as broken when it is silent for too long.

const silence = 25000, pauses = [200, 400, 800, 1000];

// follow opens address() and hands each event's data to take. options: last, a function
// for the last event of a stream that ends; alive(ok, why) hears whether it is open;
// silent: the stream may say nothing for as long as it likes.
export function follow(address, take, options = {}) {
  let source = null, timer = 0, watchdog = 0, fails = 0, closed = false, since = '';

  const drop = () => {
    clearTimeout(timer);
    clearTimeout(watchdog);
    if (source) source.close();
    source = null;
  };
  const heard = () => {
    clearTimeout(watchdog);
    if (!options.silent) watchdog = setTimeout(() => again('the coordinator says nothing'), silence);
  };
  const again = why => {
    drop();
    if (closed || document.hidden) return;
    if (options.alive) options.alive(false, why);
    timer = setTimeout(open, pauses[Math.min(fails++, pauses.length - 1)]);
  };
  const open = () => {
    drop();
    source = new EventSource(address(since));
    heard();
    source.onopen = () => { heard(); };
    source.onmessage = e => {
      fails = 0;
      heard();
      if (e.lastEventId) since = e.lastEventId;
      if (options.alive) options.alive(true, '');
      take(JSON.parse(e.data));
    };
    source.addEventListener('end', e => {
      stop();
      if (options.last) options.last(JSON.parse(e.data));
    });
    source.onerror = () => again('the coordinator does not answer');
  };
  const seen = () => {
    if (closed) return;
    if (document.hidden) drop(); else if (!source) { fails = 0; open(); }
  };
  const stop = () => {
    closed = true;
    drop();
    document.removeEventListener('visibilitychange', seen);
  };
  // again opens the stream anew where it is open: it may be broken without anybody's
  // having been told.
  stop.again = () => { if (!closed && source) open(); };
  document.addEventListener('visibilitychange', seen);
  if (!document.hidden) open();
  return stop;
}

// with adds parameters to a path.
export function withQuery(path, parameters) {
  const q = new URLSearchParams();
  for (const [k, v] of Object.entries(parameters)) if (v !== '' && v !== undefined) q.set(k, v);
  const text = q.toString();
  return text ? `${path}?${text}` : path;
}
