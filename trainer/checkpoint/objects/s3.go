package objects

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/logging"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"ressa/coordinator/api"
)

// defaultRegion signs requests where neither the job nor the environment names a
// region: stores that are not AWS's take any.
const defaultRegion = "us-east-1"

// bucket is an S3 bucket.
type bucket struct {
	client       *s3.Client
	name, prefix string
}

func openS3(ctx context.Context, s api.CheckpointStore) (Store, error) {
	options := []func(*config.LoadOptions) error{config.WithRetryer(func() aws.Retryer { return aws.NopRetryer{} }), config.WithLogger(logging.Nop{})}
	if s.Region != "" {
		options = append(options, config.WithRegion(s.Region))
	}
	c, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return nil, fmt.Errorf("%w: AWS configuration: %w", ErrRefused, err)
	}
	if c.Region == "" {
		c.Region = defaultRegion
	}
	b := &bucket{name: s.Bucket}
	if s.Prefix != "" {
		b.prefix = s.Prefix + "/"
	}
	b.client = s3.NewFromConfig(c, func(o *s3.Options) {
		if s.Endpoint != "" { // its host is the server's, not one for every bucket
			o.BaseEndpoint, o.UsePathStyle = aws.String(s.Endpoint), true
		}
	})
	return b, nil
}

// Put implements [Store]. The server verifies what it got: the request is signed
// with its hash, or carries a checksum. Large objects go up in parts.
func (b *bucket) Put(ctx context.Context, name string, body *io.SectionReader) error {
	if _, err := body.Seek(0, io.SeekStart); err != nil {
		return err
	}
	up := transfermanager.New(b.client, func(o *transfermanager.Options) { o.PartSizeBytes, o.Concurrency = 32<<20, 2 })
	_, err := up.UploadObject(ctx, &transfermanager.UploadObjectInput{Bucket: &b.name, Key: aws.String(b.prefix + name), Body: body})
	return b.refusal(ctx, err)
}

// Get implements [Store].
func (b *bucket) Get(ctx context.Context, name string) (io.ReadCloser, error) {
	out, err := b.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &b.name, Key: aws.String(b.prefix + name)})
	if err != nil {
		return nil, b.refusal(ctx, err)
	}
	return out.Body, nil
}

// List implements [Store].
func (b *bucket) List(ctx context.Context, folder string) ([]Info, error) {
	var out []Info
	pages := s3.NewListObjectsV2Paginator(b.client, &s3.ListObjectsV2Input{Bucket: &b.name, Prefix: aws.String(b.prefix + folder + "/")})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, b.refusal(ctx, err)
		}
		for _, o := range page.Contents {
			out = append(out, Info{strings.TrimPrefix(aws.ToString(o.Key), b.prefix), aws.ToInt64(o.Size), aws.ToTime(o.LastModified)})
		}
	}
	return out, nil
}

// Delete implements [Store].
func (b *bucket) Delete(ctx context.Context, name string) error {
	_, err := b.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &b.name, Key: aws.String(b.prefix + name)})
	if err = b.refusal(ctx, err); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Close implements [Store].
func (b *bucket) Close() error { return nil }

// refusal words the client's errors, which are of many lines' worth, and tells
// apart what waiting does not mend.
func (b *bucket) refusal(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%w: %v", ctx.Err(), err)
	}
	var answer smithy.APIError
	var response *smithyhttp.ResponseError
	status := 0
	if errors.As(err, &response) {
		status = response.HTTPStatusCode()
	}
	switch {
	case errors.As(err, &answer):
		switch answer.ErrorCode() {
		case "NoSuchKey", "NotFound":
			return fmt.Errorf("%s: %w", answer.ErrorCode(), fs.ErrNotExist)
		case "NoSuchBucket":
			return fmt.Errorf("%w: bucket %q does not exist", ErrRefused, b.name)
		}
		said := fmt.Errorf("%s: %s", answer.ErrorCode(), answer.ErrorMessage())
		if status >= 300 && status < 500 && status != http.StatusRequestTimeout && status != http.StatusTooManyRequests && !throttled(answer.ErrorCode()) {
			return fmt.Errorf("%w: %w", ErrRefused, said)
		}
		return said
	case strings.Contains(err.Error(), "get identity: get credentials") || strings.Contains(err.Error(), "failed to refresh cached credentials"):
		return fmt.Errorf("%w: no credentials, want AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or another source that AWS's tools read", ErrRefused)
	}
	if broken := (*url.Error)(nil); errors.As(err, &broken) {
		return broken.Err
	}
	return err
}

func throttled(code string) bool {
	_, ok := retry.DefaultThrottleErrorCodes[code]
	return ok || code == "RequestTimeout"
}
