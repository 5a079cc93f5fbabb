//go:build !linux

package durable

func exchange(fresh, target string) error { return swapByRenames(fresh, target) }
