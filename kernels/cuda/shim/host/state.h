/* The driver's state: one context with its streams. Work in a stream runs as late as it
 * may: when the host waits for it, one piece a query. So what the host forgets to
 * wait for has not happened, and shows. In every second wait of the host's the other
 * streams go first, as far as events let them: so does what a stream forgets to wait
 * for. */
#pragma once
#include "runtime.h"
#include <algorithm>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#define API extern "C" __attribute__((visibility("default"))) int

namespace shim {

inline std::mutex lock;
inline int retained;
inline int failed; /* of the context, until it is released: what a kernel does wrong is final */
inline std::map<int, std::string> details; /* what the last error of a code was about */
inline thread_local void *current;
inline std::map<void *, size_t> pinned;

struct stream;

struct mark { /* what an event was last recorded as */
	std::shared_ptr<stream> of;
	bool done = false;
	double ms = 0;
	int wait();
};

struct piece {
	std::function<int()> run;
	std::shared_ptr<mark> after; /* which has to be done before, or null */
};

struct stream {
	std::deque<piece> work;
	/* Runs one piece, and first what it has to wait for. */
	int step()
	{
		if (failed) return failed;
		auto p = std::move(work.front());
		work.pop_front();
		if (p.after) p.after->wait();
		return failed ? failed : failed = p.run();
	}
	int drain()
	{
		while (!failed && !work.empty()) step();
		return failed;
	}
	/* Runs what waits for no other stream; returns whether there was anything. */
	bool advance()
	{
		bool ran = false;
		while (!failed && !work.empty() && (!work.front().after || work.front().after->done)) step(), ran = true;
		return ran;
	}
};

inline int mark::wait()
{
	while (!failed && !done) of->step();
	return failed;
}

struct event { std::shared_ptr<mark> last; };

inline std::map<void *, std::shared_ptr<stream>> streams;

int most_shared(); /* bytes that a block of the device can ask for */

inline int refuse(int code, const std::string &why)
{
	details[code] = why;
	return code;
}

#define GUARD \
	std::lock_guard<std::mutex> guard(lock); \
	if (!current || !retained) return refuse(INVALID_CONTEXT, "no context is current"); \
	if (failed) return failed

/* Precedes what the host waits for: runs the other streams if it is their turn, in
 * either order. */
inline unsigned waits;
inline void others_first(const stream *waited)
{
	if (!(waits & 1)) return;
	std::vector<stream *> others;
	for (auto &s : streams)
		if (s.second.get() != waited) others.push_back(s.second.get());
	if (waits & 2) std::reverse(others.begin(), others.end());
	for (bool ran = true; ran;) {
		ran = false;
		for (stream *s : others) ran |= s->advance();
	}
}

inline int drain_all()
{
	for (auto &s : streams) s.second->drain();
	return failed;
}

} // namespace shim
