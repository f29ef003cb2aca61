// Package certfile reads a certificate and its key from files that another program may renew.
package certfile
