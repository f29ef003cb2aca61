package controller

import (
	"context"
	"errors"
	"fmt"
)

// DetectCentral returns a client of the Central that takes the token: v2 at baseV2, else v1 at
// baseV1. It fails with ErrUnauthorized if both refuse it.
func DetectCentral(ctx context.Context, baseV1, baseV2, token string,
	waiting Waiting) (Client, error) {
	v2 := &centralV2{newRequester(baseV2, "Bearer", token, waiting)}
	_, newer := v2.Networks(ctx)
	if newer == nil || errors.Is(newer, ErrForbidden) || errors.Is(newer, ErrRateLimited) {
		return v2, newer
	}
	v1 := &centralV1{newRequester(baseV1, "token", token, waiting)}
	_, older := v1.Networks(ctx)
	refused := errors.Is(older, ErrUnauthorized) || errors.Is(older, ErrForbidden)
	switch {
	case older == nil:
		return v1, nil
	case refused && !errors.Is(newer, ErrUnauthorized):
		return nil, newer // it may be a token of the newer one, which could not be asked
	case !refused && errors.Is(newer, ErrUnauthorized):
		return nil, older
	}
	return nil, fmt.Errorf("%w; %w", newer, older)
}
