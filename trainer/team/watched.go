package team

import (
	"context"
	"slices"

	"ressa/trainer/activity"
)

// watched is a group whose calls tell whom they wait for.
type watched struct{ Group }

func (g watched) Send(ctx context.Context, to int, tag string, message []byte) error {
	defer activity.Wait(ctx, to)()
	return g.Group.Send(ctx, to, tag, message)
}

func (g watched) Recv(ctx context.Context, from int, tag string) ([]byte, error) {
	defer activity.Wait(ctx, from)()
	return g.Group.Recv(ctx, from, tag)
}

func (g watched) RecvInto(ctx context.Context, from int, tag string, buf []byte) (int, error) {
	defer activity.Wait(ctx, from)()
	return g.Group.RecvInto(ctx, from, tag, buf)
}

func (g watched) AllGather(ctx context.Context, members []int, key string, message []byte) ([][]byte, error) {
	defer activity.Wait(ctx, g.others(members)...)()
	return g.Group.AllGather(ctx, members, key, message)
}

func (g watched) Barrier(ctx context.Context) error {
	defer activity.Wait(ctx, g.others(nil)...)()
	return g.Group.Barrier(ctx)
}

// others are the members but this one; nil stands for all workers.
func (g watched) others(members []int) []int {
	var out []int
	for w := range g.World() {
		if w != g.Rank() && (members == nil || slices.Contains(members, w)) {
			out = append(out, w)
		}
	}
	return out
}
