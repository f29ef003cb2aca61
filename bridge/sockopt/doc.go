// Package sockopt sets options of sockets before net uses them.
package sockopt
