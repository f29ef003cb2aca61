package bridge

import (
	"context"

	"ztbridge/bridge/decide"
	"ztbridge/bridge/services"
	"ztbridge/policyroute"
	"ztbridge/policyroute/kernel"
)

// inForce is what the last pass that succeeded made the kernel hold.
type inForce struct {
	spec   *services.Spec
	intent policyroute.Intent
}

// commitReload notes what is in force now. After a reload it cuts the connections that the new
// policy sends another way: the kernel itself ends those that were masqueraded, and no others. The
// others must live: the answers of a cut one meet no entry any more, and a client that only listens
// waits for them forever.
func (d *daemon) commitReload(ctx context.Context, intent policyroute.Intent) {
	before, now := d.inForce, inForce{d.spec, intent}
	if before.spec == nil || before.spec == now.spec {
		d.inForce = now
		return
	}
	n, err := d.kernel.CutFlows(ctx,
		kernel.Flows{Moved: decide.NewReload(before.intent, intent).Moves})
	if err != nil { // the next pass tries again
		d.opts.Logger.Warn("cutting flows failed", "cause", "reload", "error", err)
		return
	}
	d.inForce = now
	if n > 0 {
		d.opts.Logger.Info("flows cut", "cause", "reload", "count", n)
	}
}
