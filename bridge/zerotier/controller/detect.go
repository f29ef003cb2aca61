package controller

import (
	"context"
	"errors"
	"net/http"
)

// DetectCentral returns a client of the Central that takes the token: v2 at baseV2, else v1 at
// baseV1. It fails with ErrUnauthorized if neither does.
func DetectCentral(ctx context.Context, baseV1, baseV2, token string,
	waiting Waiting) (Client, error) {
	v2 := &centralV2{newRequester(baseV2, "Bearer", token, waiting)}
	newer := v2.do(ctx, http.MethodGet, "/network", nil, nil)
	if newer == nil || errors.Is(newer, ErrForbidden) || errors.Is(newer, ErrRateLimited) {
		return v2, newer
	}
	v1 := &centralV1{newRequester(baseV1, "token", token, waiting)}
	if older := v1.do(ctx, http.MethodGet, "/network", nil, nil); older != nil {
		return nil, errors.Join(newer, older)
	}
	return v1, nil
}
