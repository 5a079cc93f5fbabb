// Package objects keeps named objects in a directory that several machines see, in
// an S3 bucket, or in an object store of NATS JetStream: what package checkpoint
// asks of a place outside the nodes that train.
//
// An object is there whole or not at all, replaces what had its name, and is
// durable once Put returns. Every call ends with its context; none is tried again
// here, since only the caller knows what it is worth. An error that waiting does
// not mend is an ErrRefused, and an object that is not there an fs.ErrNotExist.
// Buckets and directories are made by whoever runs the store, never here.
//
// Credentials come from the environment alone: for S3 what AWS's own tools read
// (AWS_ACCESS_KEY_ID, AWS_PROFILE, ~/.aws, roles of the machine, …), for NATS the
// names that its command line knows: NATS_CREDS, NATS_CA, NATS_CERT, NATS_KEY.
//
// The client of S3 is AWS's own, aws-sdk-go-v2. Against minio-go it has the smaller
// weight: modules of one publisher and nothing else, 19 in the module graph where
// minio-go has 231, for the same 6 MB of program; and it reads all of the places
// where credentials are kept.
//
// A directory on a network file system whose server is gone blocks its caller for
// as long as the system's mount says: no context ends that.
package objects
