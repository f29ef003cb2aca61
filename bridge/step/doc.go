// Package step has loops that look often do so at the same moments, so that an idle processor wakes
// once for all of them.
package step
