package local

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"ressa/coordinator/api"
)

// The test binary is the fake of ressa: with a mode in the environment it is a
// coordinator or a trainer.
const modeVariable = "LOCAL_TEST_MODE"

func TestMain(m *testing.M) {
	if mode := os.Getenv(modeVariable); mode != "" && len(os.Args) > 1 {
		switch os.Args[1] {
		case "coordinator", "trainer":
			fake(mode, os.Args[1], os.Args[2:])
		case "launcher":
			launcher()
		}
	}
	os.Exit(m.Run())
}

// fake behaves like a process of a cluster, as far as a launcher can tell.
func fake(mode, role string, args []string) {
	f := flag.NewFlagSet(role, flag.ExitOnError)
	name, dir, addr := f.String("name", "", ""), f.String("data", "", ""), f.String("addr", "", "")
	id, join, coordinators := f.String("id", "", ""), f.String("join", "", ""), f.String("coordinator", "", "")
	device, threads := f.String("device", "", ""), f.Int("threads", 0, "")
	if err := f.Parse(args); err != nil {
		panic(err)
	}
	fmt.Fprintf(os.Stderr, "%s %s%s starts with RESSA_THREADS=%q\n", role, *id, *name, os.Getenv("RESSA_THREADS"))
	if mode == "dies:"+*id+*name {
		fmt.Fprintln(os.Stderr, "port is taken")
		os.Exit(7)
	}
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	if mode != "silent:"+*name {
		if role == "coordinator" {
			serve(*id, *dir, *addr, *join)
		} else {
			beat(strings.Split(*coordinators, ",")[0], *name, *device, *threads)
		}
	}
	<-term
	if mode == "stubborn" {
		select {}
	}
	os.Exit(0)
}

func post(url string, body any) {
	raw, err := json.Marshal(body)
	if err != nil {
		panic(err)
	}
	resp, err := http.Post(url, "application/json", bytes.NewReader(raw))
	if err != nil {
		panic(err)
	}
	resp.Body.Close()
}

func beat(url, name, device string, threads int) {
	post(url+"/v1/nodes/"+name+"/beat", api.Beat{Info: &api.NodeInfo{Name: name, PID: os.Getpid(), Threads: threads, Version: device}})
}

func serve(id, dir, addr, join string) {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		panic(err)
	}
	var mu sync.Mutex
	cluster := api.Cluster{Leader: id, Members: []api.Member{{ID: id}}}
	var nodes api.NodeList
	mux := http.NewServeMux()
	answer := func(w http.ResponseWriter, v any) {
		if err := json.NewEncoder(w).Encode(v); err != nil {
			panic(err)
		}
	}
	locked := func(h func(http.ResponseWriter, *http.Request)) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			h(w, r)
		}
	}
	mux.HandleFunc("GET /v1/cluster", locked(func(w http.ResponseWriter, _ *http.Request) { answer(w, cluster) }))
	mux.HandleFunc("GET /v1/nodes", locked(func(w http.ResponseWriter, _ *http.Request) { answer(w, nodes) }))
	mux.HandleFunc("POST /v1/cluster/members", locked(func(w http.ResponseWriter, r *http.Request) {
		var m api.Member
		if err := json.NewDecoder(r.Body).Decode(&m); err != nil {
			panic(err)
		}
		cluster.Members = append(cluster.Members, m)
		answer(w, cluster)
	}))
	mux.HandleFunc("POST /v1/nodes/{name}/beat", locked(func(w http.ResponseWriter, r *http.Request) {
		var b api.Beat
		if err := json.NewDecoder(r.Body).Decode(&b); err != nil {
			panic(err)
		}
		nodes.Nodes = append(nodes.Nodes, api.NodeRecord{NodeInfo: *b.Info, State: api.NodeReady})
		answer(w, api.BeatReply{})
	}))
	go func() { panic(http.Serve(listener, mux)) }()
	if join != "" {
		post(join+"/v1/cluster/members", api.Member{ID: id})
	}
	if err := os.WriteFile(filepath.Join(dir, "addr"), []byte(listener.Addr().String()+"\n"), 0o600); err != nil {
		panic(err)
	}
}
