package agent

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/nats-io/nats.go"

	"ressa/coordinator/api"
)

// profileWait is how long a profile may take beside the time that it is of.
const profileWait = 30 * time.Second

var errNothing = errors.New("this node records nothing")

// trace answers with what was recorded of a step.
func (a *agent) trace(m *nats.Msg) {
	if a.Trace == nil {
		a.reply(m, nil, errNothing)
		return
	}
	var ask api.TraceRequest
	var found api.Trace
	err := json.Unmarshal(m.Data, &ask)
	if err == nil {
		found, err = a.Trace(ask)
	}
	a.reply(m, found, err)
}

// profile answers with what the process does during the next steps.
func (a *agent) profile(ctx context.Context, m *nats.Msg) {
	if a.Profile == nil {
		a.reply(m, nil, errNothing)
		return
	}
	var ask api.ProfileRequest
	err := json.Unmarshal(m.Data, &ask)
	if err == nil {
		err = ask.Check()
	}
	if err != nil {
		a.reply(m, nil, err)
		return
	}
	a.answer(ctx, m, time.Duration(ask.Seconds)*time.Second+profileWait, func(ctx context.Context) (any, error) { return a.Profile(ctx, ask) })
}
