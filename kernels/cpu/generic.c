/* The variant for any processor of the architecture. */
#define RK_VARIANT generic
#include "body.h"
