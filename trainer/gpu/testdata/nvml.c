// A libnvidia-ml.so.1 of two GPUs, for tests of the way from Go through cgo and dlopen
// to C. What the GPUs say is in the file that NVML_STATE names: a line "KEY GPU VALUE"
// each. With OLD it lacks what old drivers lack. The header is go-nvml's, in which a
// handle is a structure around the pointer that it is.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "nvml.h"

#define GPUS 2

struct nvmlDevice_st { unsigned index; };
static struct nvmlDevice_st gpus[GPUS] = {{0}, {1}};
struct nvmlEventSet_st { int unused; };
static struct nvmlEventSet_st set;
static unsigned long long seen; // of the XIDs in the file

// state returns what the file says of a GPU, or a default.
static unsigned long long state(const char *key, unsigned gpu, unsigned long long otherwise) {
	const char *path = getenv("NVML_STATE");
	FILE *f = path ? fopen(path, "r") : NULL;
	char k[32];
	unsigned g;
	unsigned long long v, found = otherwise;
	while (f && fscanf(f, "%31s %u %llu", k, &g, &v) == 3)
		if (!strcmp(k, key) && g == gpu)
			found = v;
	if (f)
		fclose(f);
	return found;
}

// ready is what every call about a GPU begins with.
static nvmlReturn_t ready(nvmlDevice_t d) {
	while (state("hang", d.handle->index, 0))
		usleep(1000);
	return state("lost", d.handle->index, 0) ? NVML_ERROR_GPU_IS_LOST : NVML_SUCCESS;
}

nvmlReturn_t nvmlInit_v2(void) { return state("init", 0, NVML_SUCCESS); }
nvmlReturn_t nvmlShutdown(void) { return NVML_SUCCESS; }
const char *nvmlErrorString(nvmlReturn_t r) { return r == NVML_ERROR_LIB_RM_VERSION_MISMATCH ? "mismatch" : "some error"; }

nvmlReturn_t nvmlSystemGetDriverVersion(char *out, unsigned n) {
	snprintf(out, n, "550.54.15");
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetCount_v2(unsigned *n) {
	*n = GPUS;
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned i, nvmlDevice_t *d) {
	if (i >= GPUS)
		return NVML_ERROR_INVALID_ARGUMENT;
	d->handle = &gpus[i];
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetHandleByUUID(const char *uuid, nvmlDevice_t *d) {
	unsigned i;
	if (sscanf(uuid, "GPU-%u", &i) != 1 || i >= GPUS || state("gone", i, 0))
		return NVML_ERROR_NOT_FOUND;
	d->handle = &gpus[i];
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetUUID(nvmlDevice_t d, char *out, unsigned n) {
	snprintf(out, n, "GPU-%u", d.handle->index);
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetName(nvmlDevice_t d, char *out, unsigned n) {
	snprintf(out, n, "Fake H100");
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t d, nvmlMemory_t *m) {
	*m = (nvmlMemory_t){.total = 80ull << 30, .free = 1, .used = 2};
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetCudaComputeCapability(nvmlDevice_t d, int *major, int *minor) {
	*major = 9, *minor = 0;
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetPciInfo_v3(nvmlDevice_t d, nvmlPciInfo_t *p) {
	memset(p, 0, sizeof *p);
	snprintf(p->busId, sizeof p->busId, "00000000:%02X:00.0", 0xa0 + d.handle->index);
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetTemperatureThreshold(nvmlDevice_t d, nvmlTemperatureThresholds_t which, unsigned *t) {
	*t = which == NVML_TEMPERATURE_THRESHOLD_SHUTDOWN ? 92 : which == NVML_TEMPERATURE_THRESHOLD_SLOWDOWN ? 89 : 1;
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetTemperature(nvmlDevice_t d, nvmlTemperatureSensors_t which, unsigned *t) {
	*t = state("temperature", d.handle->index, 40);
	return ready(d);
}

nvmlReturn_t nvmlDeviceGetTotalEccErrors(nvmlDevice_t d, nvmlMemoryErrorType_t type, nvmlEccCounterType_t since, unsigned long long *n) {
	*n = type == NVML_MEMORY_ERROR_TYPE_UNCORRECTED && since == NVML_VOLATILE_ECC ? state("ecc", d.handle->index, 0) : 1000;
	return ready(d);
}

nvmlReturn_t nvmlDeviceGetRetiredPagesPendingStatus(nvmlDevice_t d, nvmlEnableState_t *pending) {
	*pending = state("retire", d.handle->index, 0) ? NVML_FEATURE_ENABLED : NVML_FEATURE_DISABLED;
	return ready(d);
}

#ifndef OLD
nvmlReturn_t nvmlDeviceGetMigMode(nvmlDevice_t d, unsigned *now, unsigned *then) {
	*now = d.handle->index == 1 ? NVML_DEVICE_MIG_ENABLE : NVML_DEVICE_MIG_DISABLE;
	*then = *now;
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetRemappedRows(nvmlDevice_t d, unsigned *corrected, unsigned *uncorrected, unsigned *pending, unsigned *failed) {
	*corrected = 3, *uncorrected = 4;
	*pending = state("remap", d.handle->index, 0), *failed = state("failed", d.handle->index, 0);
	return ready(d);
}
#endif

nvmlReturn_t nvmlEventSetCreate(nvmlEventSet_t *s) {
	s->handle = &set;
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlEventSetFree(nvmlEventSet_t s) { return s.handle == &set ? NVML_SUCCESS : NVML_ERROR_INVALID_ARGUMENT; }

nvmlReturn_t nvmlDeviceGetSupportedEventTypes(nvmlDevice_t d, unsigned long long *types) {
	*types = nvmlEventTypeXidCriticalError | nvmlEventTypePState;
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceRegisterEvents(nvmlDevice_t d, unsigned long long types, nvmlEventSet_t s) {
	return types == nvmlEventTypeXidCriticalError && s.handle == &set ? NVML_SUCCESS : NVML_ERROR_INVALID_ARGUMENT;
}

nvmlReturn_t nvmlEventSetWait_v2(nvmlEventSet_t s, nvmlEventData_t *e, unsigned ms) {
	for (unsigned waited = 0; waited < ms; waited += 10) {
		for (unsigned i = 0; i < GPUS; i++) {
			unsigned long long xid = state("xid", i, 0);
			if (xid && xid != seen) {
				seen = xid;
				*e = (nvmlEventData_t){.device = {&gpus[i]}, .eventType = nvmlEventTypeXidCriticalError, .eventData = xid};
				return NVML_SUCCESS;
			}
		}
		usleep(10000);
	}
	return NVML_ERROR_TIMEOUT;
}
