package kerneltest_test

import (
	"testing"

	"ressa/kernels/kerneltest"
	"ressa/kernels/reference"
)

func TestReference(t *testing.T) { kerneltest.Run(t, reference.Open) }
