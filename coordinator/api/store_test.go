package api

import (
	"reflect"
	"strings"
	"testing"
)

func TestCheckpointStores(t *testing.T) {
	for text, want := range map[string]CheckpointStore{
		"nodes":              {},
		"file:///mnt/shared": {Scheme: "file", Dir: "/mnt/shared"},
		"file:///mnt/a b/":   {Scheme: "file", Dir: "/mnt/a b"},
		"s3://bucket":        {Scheme: "s3", Bucket: "bucket"},
		"s3://b.c-1/x/y_z/?endpoint=http://127.0.0.1:7070&region=eu-central-1": {Scheme: "s3", Bucket: "b.c-1", Prefix: "x/y_z", Endpoint: "http://127.0.0.1:7070", Region: "eu-central-1"},
		"s3://bucket/p?endpoint=https%3A%2F%2Fs3.example.com%2F":               {Scheme: "s3", Bucket: "bucket", Prefix: "p", Endpoint: "https://s3.example.com"},
		"nats://a:4222/ckpt":             {Scheme: "nats", Bucket: "ckpt", Servers: []string{"nats://a:4222"}},
		"tls://a:4222,[::1]:4223/ckpt_1": {Scheme: "nats", Bucket: "ckpt_1", Servers: []string{"tls://a:4222", "tls://[::1]:4223"}},
	} {
		got, err := ParseCheckpointStore(text)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v, want %+v", text, got, err, want)
		}
	}
	const which, prefix, endpoint, hosts = "want nodes, file:///DIR", "want a prefix", "want endpoint=http", "want HOST:PORT"
	for text, want := range map[string]string{
		"": which, "disk": which, "Nodes": which, "/mnt/shared": which, "http://x/y": which, "gs://bucket": which,
		"file://host/dir": "an absolute, clean path", "file://": "an absolute, clean path", "file:///a/../b": "an absolute, clean path", "file:///a?x=1": "an absolute, clean path",
		"s3://": "want a bucket", "s3://B": "want a bucket", "s3://ab": "want a bucket", "s3://a_b": "want a bucket",
		"s3://bucket//x": prefix, "s3://bucket/../x": prefix, "s3://bucket/a b": prefix, "s3://bucket/.x": prefix,
		"s3://bucket?region=": "want region", "s3://bucket?region=A": "want region", "s3://bucket?key=1": "want nothing but", "s3://bucket?region=a&region=b": "want nothing but",
		"s3://bucket?endpoint=ftp://x": endpoint, "s3://bucket?endpoint=http://x/path": endpoint, "s3://bucket?endpoint=": endpoint, "s3://bucket?endpoint=%zz": "want ?endpoint",
		"nats://a:4222": "want a bucket", "nats://a:4222/": "want a bucket", "nats://a:4222/a/b": "want a bucket", "nats://a:4222/a.b": "want a bucket",
		"nats://a/b": hosts, "nats:///b": hosts, "nats://a:0/b": hosts, "nats://a:x/b": hosts, "nats://a:1,/b": hosts,
		"s3://key:hunter2@bucket":                         "found a user or a password",
		"nats://u:hunter2@a:1/b":                          "found a user or a password",
		"s3://bucket?endpoint=http://u:hunter2@x":         "found a user or a password",
		"s3://bucket/" + strings.Repeat("hunter2", 1<<10): "want at most 1024",
	} {
		got, err := ParseCheckpointStore(text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %+v, %v, want %q", shorten(text), got, err, want)
		} else if strings.Contains(text, "@") && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the error has the password: %v", text, err)
		}
		refuses(t, text, minimal+"train: {checkpoint_store: '"+text+"'}\n", "job.yaml: train.checkpoint_store: found")
	}
}
