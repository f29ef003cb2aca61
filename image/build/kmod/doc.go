// Package kmod finds, in a kernel package's module tree, the files that loading given modules
// needs, in load order.
package kmod
