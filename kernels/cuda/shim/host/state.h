/* The driver's state: one context with its streams. Work in a stream runs as late as it
 * may: when the host waits for it, one piece a query. So what the host forgets to
 * wait for has not happened, and shows. */
#pragma once
#include "runtime.h"
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>

#define API extern "C" __attribute__((visibility("default"))) int

namespace shim {

inline std::mutex lock;
inline int retained;
inline int failed; /* of the context, until it is released: what a kernel does wrong is final */
inline std::map<int, std::string> details; /* what the last error of a code was about */
inline thread_local void *current;
inline std::map<void *, size_t> pinned;

struct stream {
	std::deque<std::function<int()>> work;
	int step()
	{
		if (failed) return failed;
		auto f = std::move(work.front());
		work.pop_front();
		return failed = f();
	}
	int drain()
	{
		while (!failed && !work.empty()) step();
		return failed;
	}
};

struct mark { /* what an event was last recorded as */
	std::shared_ptr<stream> of;
	bool done = false;
	double ms = 0;
	int wait()
	{
		while (!failed && !done) of->step();
		return failed;
	}
};

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

inline int drain_all()
{
	for (auto &s : streams) s.second->drain();
	return failed;
}

} // namespace shim
