// Package objectstest starts, for tests, the servers that checkpoints can be kept
// on: a directory, an S3 server, versitygw, as a process of its own, and NATS servers
// with JetStream within the test. All keep their data when they are stopped and started
// again, and end with the test.
//
// versitygw is built once, from the module in deploy/s3, into the user's cache: it
// needs far more modules than Ressa, which must not depend on them.
package objectstest
