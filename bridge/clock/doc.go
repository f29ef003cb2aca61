// Package clock tells apart time that has passed and a clock that was set: many boxes start with
// one that is wrong until they have asked a time server.
package clock
