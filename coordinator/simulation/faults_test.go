package simulation

import (
	"time"

	"ressa/coordinator/api"
)

// storm draws faults until a time.
func (c *cluster) storm(until time.Duration) {
	c.after(c.between(200*time.Millisecond, 4*time.Second), func() {
		if c.now() < until {
			c.fault()
			c.storm(until)
		}
	})
}

// fault draws one fault, or something that a user does.
func (c *cluster) fault() {
	c.count("faults", 1)
	n, m := c.nodes[c.dice.IntN(len(c.nodes))], c.members[c.dice.IntN(len(c.members))]
	leader := m
	for _, x := range c.members {
		if x.log.leads() {
			leader = x
		}
	}
	switch c.dice.IntN(21) {
	case 0, 1, 2:
		n.crash(c.chance(4))
		c.after(c.between(200*time.Millisecond, 12*time.Second), n.start)
	case 3:
		c.bring(m, c.between(200*time.Millisecond, 10*time.Second))
	case 4:
		c.bring(leader, c.between(200*time.Millisecond, 10*time.Second))
	case 5:
		leader.doomed = true
		c.after(c.between(5*time.Second, 10*time.Second), func() { c.restart(leader) })
	case 6:
		leader.pause()
		c.after(c.between(200*time.Millisecond, 12*time.Second), leader.wake)
	case 7:
		m.pause()
		c.after(c.between(200*time.Millisecond, 12*time.Second), m.wake)
	case 8, 9:
		n.pause()
		c.after(c.between(200*time.Millisecond, 12*time.Second), n.wake)
	case 10, 11:
		c.partition(false)
	case 12:
		c.partition(true)
	case 13:
		c.say("the network is slow")
		c.network.slow, c.network.lost, c.network.dup = c.between(20*time.Millisecond, 2*time.Second), 5+c.dice.IntN(40), 3+c.dice.IntN(10)
		c.network.shaken = c.now()
		c.after(c.between(time.Second, 10*time.Second), c.calm)
	case 14:
		d := c.between(-time.Hour, time.Hour)
		if c.chance(2) {
			d /= 600
		}
		c.say("the clock of %s jumps by %v", leader.name, d)
		leader.ahead += d
	case 15, 16:
		if len(c.users.jobs) < 4 {
			c.users.submit()
		}
	case 17:
		if len(c.users.jobs) > 0 {
			c.users.change(c.users.jobs[c.dice.IntN(len(c.users.jobs))].Name, true)
		}
	case 18:
		if len(c.users.jobs) > 0 {
			c.users.change(c.users.jobs[c.dice.IntN(len(c.users.jobs))].Name, false)
		}
	case 19:
		n.leave()
		c.after(beatWait+c.between(200*time.Millisecond, 12*time.Second), n.start)
	case 20:
		switch c.dice.IntN(4) {
		case 0:
			c.say("everything is killed")
			for _, x := range c.members {
				c.bring(x, c.between(time.Second, 8*time.Second))
			}
			for _, x := range c.nodes {
				x.crash(false)
				c.after(c.between(time.Second, 8*time.Second), x.start)
			}
		case 1:
			for _, x := range c.members {
				c.bring(x, c.between(time.Second, 8*time.Second))
			}
		default:
			c.users.drain(n.name, c.chance(2))
		}
	}
}

// bring kills a member and brings it back.
func (c *cluster) bring(m *member, after time.Duration) {
	c.kill(m)
	c.after(after, func() { c.restart(m) })
}

func (c *cluster) restart(m *member) {
	if !m.up {
		m.start()
	}
}

// partition cuts some processes off from the others, in one direction or both.
func (c *cluster) partition(oneWay bool) {
	var all, cut []string
	side := map[string]bool{}
	for _, m := range c.members {
		all = append(all, m.name)
	}
	for _, n := range c.nodes {
		all = append(all, n.name)
	}
	for _, name := range all {
		if side[name] = c.chance(3); side[name] {
			cut = append(cut, name)
		}
	}
	if len(cut) == 0 || len(cut) == len(all) {
		return
	}
	c.say("%v are cut off%s", cut, map[bool]string{true: ", in one direction"}[oneWay])
	for _, a := range all {
		for _, b := range all {
			if side[a] && !side[b] || !oneWay && side[b] && !side[a] {
				c.network.part(a, b)
			}
		}
	}
	c.network.shaken = c.now()
	c.after(c.between(500*time.Millisecond, 12*time.Second), func() {
		c.say("the network is whole")
		c.network.whole()
	})
}

func (c *cluster) calm() {
	c.say("the network is as usual")
	c.network.slow, c.network.lost, c.network.dup, c.network.shaken = 0, 0, 0, c.now()
}

// heal ends every fault.
func (c *cluster) heal() {
	c.say("everything is healed")
	c.network.whole()
	c.calm()
	for _, m := range c.members {
		m.doomed = false
		m.wake()
		c.restart(m)
	}
	for _, n := range c.nodes {
		n.wake()
	}
	c.mend()
}

// mend starts nodes that have ended, and has users take back what keeps jobs from
// ending, until all have: requests of before may still arrive, and a node that was
// leaving still leaves.
func (c *cluster) mend() {
	for _, n := range c.nodes {
		n.start()
	}
	for _, n := range c.latest.Nodes() {
		if n.Draining {
			c.users.drain(n.Info.Name, false)
		}
	}
	for _, j := range c.latest.Jobs() {
		if j.State == api.Failed && !c.users.job(j.Name).Bad {
			c.users.change(j.Name, false)
		}
	}
	c.after(5*time.Second, c.mend)
}
