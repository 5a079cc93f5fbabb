package api

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"path"
	"regexp"
	"strconv"
	"strings"
)

// NodesStore is the value of train.checkpoint_store that keeps checkpoints on the
// disks of nodes.
const NodesStore = "nodes"

// CheckpointStore is where checkpoints are kept beside the disk of the node that
// has the run: the parsed train.checkpoint_store. The zero value is of none.
type CheckpointStore struct {
	Scheme string // file, s3 or nats; empty on nodes
	Dir    string // file: a folder that all nodes see
	Bucket string // s3, nats
	Prefix string // s3: before every key, without a slash at its ends
	// Endpoint and Region are of s3; empty for the environment's.
	Endpoint, Region string
	Servers          []string // nats: URLs of the cluster's servers
}

var (
	s3Bucket   = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)
	natsBucket = regexp.MustCompile(`^[A-Za-z0-9_-]{1,128}$`)
	s3Prefix   = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$`)
	regionForm = regexp.MustCompile(`^[a-z0-9-]{1,63}$`)
)

// ParseCheckpointStore parses a value of train.checkpoint_store. Its URLs carry no
// credentials, so that they may be shown; those come from the environment.
func ParseCheckpointStore(text string) (CheckpointStore, error) {
	var s CheckpointStore
	if text == NodesStore {
		return s, nil
	}
	scheme, rest, ok := strings.Cut(text, "://")
	// Whatever stands before an @ may be a secret: it is not repeated.
	if ok && strings.Contains(rest, "@") {
		return s, errors.New("found a user or a password in the URL, want none: credentials come from the environment")
	}
	if len(text) > 1024 {
		return s, fmt.Errorf("found %d bytes, want at most 1024", len(text))
	}
	var err error
	switch {
	case ok && scheme == "file":
		err = s.parseFile(rest)
	case ok && scheme == "s3":
		err = s.parseS3(rest)
	case ok && (scheme == "nats" || scheme == "tls"):
		err = s.parseNATS(scheme, rest)
	default:
		err = fmt.Errorf("want nodes, file:///DIR, s3://BUCKET/PREFIX or nats://HOST:PORT/BUCKET")
	}
	if err != nil {
		return CheckpointStore{}, fmt.Errorf("found %q, %w", shorten(text), err)
	}
	return s, nil
}

func (s *CheckpointStore) parseFile(dir string) error {
	if !path.IsAbs(dir) || path.Clean(dir) != strings.TrimRight(dir, "/") || strings.ContainsAny(dir, "?#%") {
		return fmt.Errorf("want file:// and an absolute, clean path")
	}
	s.Scheme, s.Dir = "file", path.Clean(dir)
	return nil
}

func (s *CheckpointStore) parseS3(rest string) error {
	name, query, _ := strings.Cut(rest, "?")
	bucket, prefix, _ := strings.Cut(name, "/")
	prefix = strings.TrimSuffix(prefix, "/")
	if !s3Bucket.MatchString(bucket) {
		return fmt.Errorf("want a bucket of 3 to 63 small letters, digits, - and . after s3://")
	}
	if prefix != "" && !s3Prefix.MatchString(prefix) {
		return fmt.Errorf("want a prefix of letters, digits, -, _, . and / after the bucket")
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return fmt.Errorf("want ?endpoint=URL and &region=NAME in the form of a URL")
	}
	for key, v := range values {
		if key != "endpoint" && key != "region" || len(v) != 1 {
			return fmt.Errorf("want nothing but one endpoint=URL and one region=NAME behind it")
		}
	}
	if values.Has("endpoint") {
		u, err := url.Parse(values.Get("endpoint"))
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
			return fmt.Errorf("want endpoint=http://HOST:PORT or https://HOST")
		}
		s.Endpoint = u.Scheme + "://" + u.Host
	}
	if values.Has("region") && !regionForm.MatchString(values.Get("region")) {
		return fmt.Errorf("want region= and a name as us-east-1")
	}
	s.Scheme, s.Bucket, s.Prefix, s.Region = "s3", bucket, prefix, values.Get("region")
	return nil
}

func (s *CheckpointStore) parseNATS(scheme, rest string) error {
	hosts, bucket, _ := strings.Cut(rest, "/")
	if !natsBucket.MatchString(bucket) {
		return fmt.Errorf("want a bucket of letters, digits, - and _ after %s://HOST:PORT/", scheme)
	}
	for _, h := range strings.Split(hosts, ",") {
		host, port, err := net.SplitHostPort(h)
		if n, bad := strconv.ParseUint(port, 10, 16); err != nil || bad != nil || n == 0 || host == "" {
			return fmt.Errorf("want HOST:PORT[,HOST:PORT…] after %s://", scheme)
		}
		s.Servers = append(s.Servers, scheme+"://"+h)
	}
	s.Scheme, s.Bucket = "nats", bucket
	return nil
}
