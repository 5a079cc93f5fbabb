// Package dashboard is the page of a cluster: HTML, CSS and JavaScript in the binary,
// which any coordinator serves at /.
//
// It guarantees that the page asks nobody but its coordinator; that what the cluster
// says reaches the browser as text, never as markup or code, which the page's
// Content-Security-Policy enforces with Trusted Types and without inline scripts or
// styles; and that a browser keeps a file for as long as its content, and no longer
// than that. It has no state and asks nothing of the cluster: the page follows it by
// the streams of package server, and acts on it by the same requests as the command
// line. It knows no users: who reaches a coordinator may do all that the page does.
//
// Files are as they are written: there is no build step. Two are other people's, in
// page/vendor: Preact 11.2.0 (MIT), which changes the document where it differs from
// what it should be, so that focus, selection and scroll stay, and htm 3.1.1
// (Apache-2.0), which lets markup be written in JavaScript without a compiler. Charts
// are a few lines of SVG each; a library for them would be larger than the page.
//
// Package coordinator/cli is the caller; package server serves what this returns.
package dashboard
