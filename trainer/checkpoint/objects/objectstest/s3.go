package objectstest

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// The credentials of the S3 servers of tests.
const (
	AccessKey = "ressa-test"
	SecretKey = "not-a-secret"
)

// S3 is an S3 server with one bucket.
type S3 struct {
	Endpoint, Bucket string

	t       testing.TB
	program string
	dir     string
	port    int
	cmd     *exec.Cmd
}

// StartS3 starts an S3 server on loopback and sets the environment so that clients
// find its credentials and no others.
func StartS3(t testing.TB, setenv func(key, value string)) *S3 {
	t.Helper()
	s := &S3{Bucket: "checkpoints", t: t, program: built(t), dir: t.TempDir(), port: freePort(t)}
	s.Endpoint = fmt.Sprintf("http://127.0.0.1:%d", s.port)
	for _, name := range []string{"data", "meta"} {
		if err := os.Mkdir(filepath.Join(s.dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for key, value := range map[string]string{"AWS_ACCESS_KEY_ID": AccessKey, "AWS_SECRET_ACCESS_KEY": SecretKey, "AWS_SESSION_TOKEN": "", "AWS_PROFILE": "", "AWS_REGION": "",
		"AWS_CONFIG_FILE": filepath.Join(s.dir, "none"), "AWS_SHARED_CREDENTIALS_FILE": filepath.Join(s.dir, "none"), "AWS_EC2_METADATA_DISABLED": "true"} {
		setenv(key, value)
	}
	s.Start()
	t.Cleanup(s.Stop)
	client := s3.New(s3.Options{BaseEndpoint: &s.Endpoint, UsePathStyle: true, Region: "us-east-1", Credentials: credentials.NewStaticCredentialsProvider(AccessKey, SecretKey, "")})
	if _, err := client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String(s.Bucket)}); err != nil {
		t.Fatal(err)
	}
	return s
}

// URL is the value of train.checkpoint_store.
func (s *S3) URL() string { return fmt.Sprintf("s3://%s/runs?endpoint=%s", s.Bucket, s.Endpoint) }

// Names are the names of all objects.
func (s *S3) Names() []string { return below(s.t, filepath.Join(s.dir, "data", s.Bucket, "runs")) }

// Start starts the server, again where it was stopped.
func (s *S3) Start() {
	s.t.Helper()
	var said bytes.Buffer
	s.cmd = exec.Command(s.program, "--port", fmt.Sprintf("127.0.0.1:%d", s.port), "--access", AccessKey, "--secret", SecretKey, "--quiet",
		"posix", "--sidecar", filepath.Join(s.dir, "meta"), filepath.Join(s.dir, "data"))
	s.cmd.Stdout, s.cmd.Stderr = &said, &said
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		answer, err := http.Get(s.Endpoint)
		if err == nil {
			_ = answer.Body.Close()
			return
		}
		if time.Now().After(end) {
			s.Stop()
			s.t.Fatalf("versitygw does not start: %v\n%s", err, said.Bytes())
		}
	}
}

// Stop kills the server.
func (s *S3) Stop() {
	if s.cmd != nil {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
		s.cmd = nil
	}
}

func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
