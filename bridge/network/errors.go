package network

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"

	"ztbridge/bridge/api"
	"ztbridge/bridge/zerotier"
	"ztbridge/bridge/zerotier/controller"
)

var errNoToken = &api.HintedError{Err: errors.New("this needs an API token of ZeroTier Central"),
	Hint: "make one at https://central.zerotier.com (older accounts: https://my.zerotier.com), " +
		"and give it by --token-file FILE"}

// hinted adds what can be done about an error of a controller.
func hinted(err error) error {
	if hint := hintOfConnection(err); hint != "" { // what follows knows better
		err = &api.HintedError{Err: err, Hint: hint}
	}
	return api.Hints{
		{controller.ErrUnauthorized, "make a new token at https://central.zerotier.com (older " +
			"accounts: https://my.zerotier.com), and give it by --token-file FILE"},
		{controller.ErrForbidden, "give the token the right to change this network; the newer " +
			"Central has API keys only in the plan Essential and above. Without a token: " +
			"remove the kept one and run it again for the steps of the web page"},
		{controller.ErrNoController, "default builds of zerotier-one have none since 1.16.0: " +
			"use ZeroTier Central with --token-file FILE"},
		{controller.ErrRateLimited, "wait a minute, or as long as it says, and run the same " +
			"command again: it goes on where it stopped"},
		{controller.ErrUnexpected, "something between this box and the controller answers in its " +
			"place, or it is another version: look for a sign-in page or a proxy, then do the " +
			"same again"},
		{controller.ErrFailing, "wait a minute, then do the same again: it goes on where it " +
			"stopped"},
		{controller.ErrNoRoom, "change the addresses at the controller: another member's, the " +
			"pools or the managed routes; then do the same again"},
		{controller.ErrNoAnswer, "see whether this box reaches the Internet (ztbridge doctor), " +
			"then do the same again: it goes on where it stopped"},
		{zerotier.ErrUnexpected, "restart zerotier-one, then do the same again; if that does not " +
			"help, another program has its port"},
		{zerotier.ErrNotRunning, "start zerotier-one: systemctl enable --now zerotier-one; then " +
			"do the same again: it goes on where it stopped"},
		{controller.ErrNotFound, "check the network id, and that the token's account may read " +
			"that network"},
		{controller.ErrNotKept, "run the same command again; then look at the network's page"},
		{zerotier.ErrRefused, "run it as root, on the box whose zerotier-one it is about"},
	}.Add(err)
}

// hintOfConnection says what can be done about a connection that was not made; empty: nothing.
func hintOfConnection(err error) string {
	invalid := x509.CertificateInvalidError{}
	certificate, network := (*tls.CertificateVerificationError)(nil), net.Error(nil)
	switch {
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "set this box's clock, if it is wrong: timedatectl; then do the same again"
	case errors.As(err, &certificate):
		return "something between this box and the controller answers in its place, and got " +
			"nothing, the token neither: look for a sign-in page or a proxy; see also whether " +
			"this box's clock is right"
	case errors.As(err, &network), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return "see whether this box reaches the Internet (ztbridge doctor), then do the same " +
			"again: it goes on where it stopped"
	}
	return ""
}
