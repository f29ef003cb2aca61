package network

import (
	"errors"

	"ztbridge/bridge/api"
	"ztbridge/bridge/zerotier"
	"ztbridge/bridge/zerotier/controller"
)

var errNoToken = &api.HintedError{Err: errors.New("this needs an API token of ZeroTier Central"),
	Hint: "make one at https://central.zerotier.com (older accounts: https://my.zerotier.com), " +
		"and give it by --token-file FILE"}

// hinted adds what can be done about an error of a controller.
func hinted(err error) error {
	hints := []struct {
		is   error
		hint string
	}{
		{controller.ErrUnauthorized, "make a new token at https://central.zerotier.com (older " +
			"accounts: https://my.zerotier.com), and give it by --token-file FILE"},
		{controller.ErrForbidden, "give the token the right to change this network; the newer " +
			"Central has API keys only in the plan Essential and above. Without a token: " +
			"remove the kept one and run it again for the steps of the web page"},
		{controller.ErrNoController, "default builds of zerotier-one have none since 1.16.0: " +
			"use ZeroTier Central with --token-file FILE"},
		{controller.ErrRateLimited, "wait a minute and run the same command again: it goes on " +
			"where it stopped"},
		{controller.ErrNotFound, "check the network id, and that the token's account may read " +
			"that network"},
		{controller.ErrNotKept, "run the same command again; then look at the network's page"},
		{zerotier.ErrRefused, "run it as root, on the box whose zerotier-one it is about"},
	}
	for _, h := range hints {
		if errors.Is(err, h.is) {
			return &api.HintedError{Err: err, Hint: h.hint}
		}
	}
	return err
}
