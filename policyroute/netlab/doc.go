// Package netlab makes hosts out of network namespaces, for tests. It has links between them,
// processes and faults inside them, captures of what they send, and snapshots of their tables.
//
// Everything it makes lives in namespaces named ztb-<pid>-…; the namespace of the caller is never
// changed. Hosts of different processes do not meet, and what a crashed process left behind is
// swept by the next. Root is needed throughout.
package netlab
