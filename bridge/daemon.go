package bridge

import (
	"context"
	"net/netip"
	"path/filepath"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"ztbridge/bridge/api"
	"ztbridge/bridge/decide"
	"ztbridge/bridge/devices"
	"ztbridge/bridge/history"
	"ztbridge/bridge/notify"
	"ztbridge/bridge/reclaim"
	"ztbridge/bridge/services"
	"ztbridge/bridge/statefile"
	"ztbridge/bridge/status"
	"ztbridge/bridge/systemd"
	"ztbridge/bridge/web"
	"ztbridge/policyroute/kernel"
)

const (
	// resync is how often the kernel is compared with what it should hold without an event: legacy
	// iptables sends none when its chains change.
	resync = 10 * time.Second
	// debounce is the shortest time between two passes, so that a burst of events makes one.
	debounce = 15 * time.Millisecond
	// retry is the pause after a pass that failed.
	retry = time.Second
)

// gcPercent has garbage collected twice as often as usual: what is in use is about 1 MB, so that it
// costs next to nothing, and the daemon stays some megabytes smaller (TestFootprint).
const gcPercent = 50

// daemon owns the loop. Other goroutines use only what is safe for concurrent use, opts, started,
// requests, ended and published.
type daemon struct {
	*history.Recorder // of the past, for readers of the status
	metrics           *api.MetricsServer
	*devices.Service
	services.ClientRequests
	services.Watchers // of what publish shows
	*notify.Notifier

	opts     Options
	kernel   *kernel.Kernel
	trigger  *services.Trigger
	services *services.Set
	monitor  *services.Monitor
	notify   *systemd.Notifier
	page     *web.Service
	totals   *devices.Totals

	spec     *services.Spec
	started  time.Time
	reporter *status.Reporter
	usage    *decide.Usage
	inForce  inForce
	passes   uint64
	refused  error             // why the last reload was refused; nil if it was not
	queues   error             // why devices have not the queues that they should
	unqueued services.Repeated // what of queues was logged
	undone   services.Repeated // what the last pass that was carried out could not do
	unkept   services.Repeated // why the files for a later start could not be written
	wake     time.Time         // when the next pass is due without an event; zero: at the resync
	// filtered reports whether the filter that was decided was in force when the last pass looked,
	// or that the pass succeeded.
	filtered   bool
	refiltered uint64                    // FilterChanges when untranslated flows were last cut
	steered    map[string][]netip.Addr   // the resolvers that clients' questions go to, by egress
	preferred  string                    // the egress that a person chose; empty if nobody did
	idleMeter  *reclaim.Meter            // nil where it does not matter
	guarded    *statefile.JSON[[]string] // the ingresses that the next boot's guard will close
	connected  connectedPrefixes
	former     map[int]string                     // names as ingresses, by index of the link
	recorded   *statefile.JSON[connectedPrefixes] // those on disk

	helpers   context.Context // of what runs beside the loop until the daemon ends
	requests  chan request
	ended     chan struct{} // closed when the loop has ended
	published atomic.Pointer[published]
}

// request is something that a person asks of the running daemon; the loop carries it out.
type request struct {
	do   func(context.Context) error
	done chan error
}

// Run is the daemon: it brings up what the configuration asks for and keeps it so until ctx ends,
// then stops the tunnels and leaves the kernel closed: rules and filters stay, so that nothing
// leaks while no daemon runs. It returns an error only if it could not begin.
func Run(ctx context.Context, opts Options) error {
	debug.SetGCPercent(gcPercent)
	ctx, end := context.WithCancel(ctx)
	defer end()
	l, err := services.Load(opts.ConfigPath, opts.Overrides)
	if err != nil {
		return err
	}
	lockFile, err := services.Lock(opts.RuntimeDir)
	if err != nil {
		return &api.HintedError{Err: err, Hint: "only one may run: systemctl status ztbridge"}
	}
	defer lockFile.Close()
	d, err := newDaemon(ctx, opts)
	if err != nil {
		return err
	}
	defer d.kernel.Close()
	// The helpers outlive ctx: the drivers end first, so that the last pass sees them gone.
	helpers, stopHelpers := context.WithCancel(context.WithoutCancel(ctx))
	defer stopHelpers()
	d.helpers = helpers
	opts.Tools.Restart = systemd.Restart(end)
	d.page = web.NewService(web.Config{Backend: d, Clients: d.Roster, Dir: web.Dir(opts.StateDir),
		Tools: opts.Tools, ImportSocket: api.ImportSocket(opts.RuntimeDir), Log: opts.Logger})
	if l.Config.History {
		d.totals.Resume(d.Recorder.Devices())
	}
	d.metrics = api.NewMetricsServer(helpers, d.Status, opts.Logger)
	defer d.metrics.Wait()
	if err := d.enforce(l); err != nil {
		return err
	}
	var wg sync.WaitGroup
	wg.Go(func() { d.serve(helpers) })
	wg.Go(func() { d.watchKernel(helpers) })
	wg.Go(func() { d.watchNeighbours(helpers) })
	wg.Go(func() { d.Recorder.Run(helpers, d.Status, d.Changes(helpers)) })
	wg.Go(func() { d.Notifier.Run(helpers, d.Status, d.Changes(helpers)) })
	wg.Go(func() { d.totals.Run(helpers) })
	wg.Go(func() { d.idleMeter.Run(helpers) })
	d.loop(ctx)
	close(d.ended)
	d.close()
	stopHelpers()
	d.page.Wait()
	wg.Wait()
	return nil
}

func newDaemon(ctx context.Context, opts Options) (*daemon, error) {
	if err := opts.env().MakeDirs(); err != nil {
		return nil, err
	}
	k, err := openKernel(opts)
	if err != nil {
		return nil, err
	}
	user, err := services.LookupUser()
	if err != nil {
		return nil, err
	}
	preferred, err := statefile.ReadLine(preferencePath(opts))
	if err != nil {
		opts.Logger.Warn("choice of egress is lost", "error", err)
	}
	recorded, err := openConnected(opts)
	if err != nil {
		opts.Logger.Warn("prefixes behind ingresses are unknown until those are up", "error", err)
	}
	guarded, err := openIngresses(opts)
	if err != nil {
		opts.Logger.Warn("the ingresses of the last run are unknown", "error", err)
	}
	trigger, env := services.NewTrigger(), opts.env()
	env.Kernel = k
	d := &daemon{
		opts: opts, kernel: k, trigger: trigger,
		services: services.New(context.WithoutCancel(ctx), env, user, trigger),
		monitor:  services.NewMonitor(), notify: systemd.New(opts.Logger, resync),
		idleMeter: reclaim.New(), started: time.Now(),
		reporter: status.NewReporter(), Recorder: history.NewRecorder(opts.StateDir, opts.Logger),
		Notifier: notify.New(opts.StateDir, func() { trigger.Fire("messages") }, opts.Logger),
		usage:    decide.NewUsage(), preferred: preferred,
		connected: recorded.Value(), recorded: recorded, guarded: guarded,
		requests: make(chan request),
		ended:    make(chan struct{}),
	}
	d.ClientRequests = services.ClientRequests{Set: d.services}
	d.totals = devices.NewTotals(d.view, opts.Logger)
	d.Service = &devices.Service{Book: devices.Open(opts.StateDir, k, opts.Logger), View: d.view,
		Change: d.change}
	return d, nil
}

// recordPath returns the file that keeps how the host was before the first change.
func recordPath(opts Options) string { return filepath.Join(opts.RuntimeDir, "sysctls.json") }

func openKernel(opts Options) (*kernel.Kernel, error) {
	return kernel.Open(kernel.Options{RecordPath: recordPath(opts), Logger: opts.Logger})
}

// enforce puts a configuration in force. It does not wait: services that are no longer wanted end
// beside the loop, and the pass that it asks for makes the kernel agree. On an error the old
// configuration stays.
func (d *daemon) enforce(l *services.Spec) error {
	old := d.spec
	d.spec = l
	if err := d.services.Configure(l); err != nil {
		d.spec = old
		return err
	}
	page := l.Config.Page
	d.page.Configure(d.helpers, web.Settings{On: page.On(), LAN: page.OnLAN(), Port: page.Port,
		HTTPSPort: page.HTTPSPort, Certificate: l.PageCertificate(d.opts.StateDir)})
	d.metrics.Configure(l.MetricsSettings())
	d.Notifier.Configure(l.NotifySettings())
	d.trigger.Fire("configuration")
	return nil
}

// loop is the reconcile loop. It returns when ctx ends.
func (d *daemon) loop(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.trigger.C:
		case <-timer.C:
			d.trigger.Fire("timer")
			<-d.trigger.C
		case <-d.opts.Reload:
			if err := d.reload(ctx); err != nil {
				d.opts.Logger.Error("configuration refused, the running one stays", "error", err)
			}
			continue
		case r := <-d.requests:
			passes := d.passes
			r.done <- r.do(ctx)
			if d.passes != passes { // one more says when the next is due, or tries again
				timer.Reset(debounce)
			}
			continue
		}
		next := resync
		err := d.pass(ctx, d.trigger.Cause(), false)
		if err != nil {
			d.opts.Logger.Error("reconcile failed", "error", err, "retry_in", retry)
			next = retry
		}
		d.notify.Alive(d.filtered, err)
		if !d.wake.IsZero() {
			next = min(next, max(time.Until(d.wake), 0))
		}
		timer.Reset(min(next, d.notify.Interval()))
		select {
		case <-ctx.Done():
		case <-time.After(debounce):
		}
	}
}

// reload reads the configuration again and puts it in force. On an error the running one stays.
// Tunnels that wait for what a person has to repair, which may be an account with the provider, try
// again.
func (d *daemon) reload(context.Context) error {
	d.notify.Reloading()
	defer d.notify.Ready()
	l, err := services.Load(d.opts.ConfigPath, d.opts.Overrides)
	if err == nil {
		err = d.enforce(l)
	}
	d.refused = err
	if err != nil {
		d.trigger.Fire("a refused reload")
		return err
	}
	d.services.RetryAll()
	d.opts.Logger.Info("configuration reloaded", "file", l.Config.File)
	return nil
}

// close ends the drivers and closes the kernel's tables behind them.
func (d *daemon) close() {
	d.notify.Stopping()
	d.totals.Count(time.Now())
	d.services.Stop()
	if err := d.pass(context.Background(), "stopping", true); err != nil {
		d.opts.Logger.Error("closing failed", "error", err)
	}
}

// serve answers on the socket. A socket that cannot be served is no reason to stop forwarding.
func (d *daemon) serve(ctx context.Context) {
	server := api.NewServer(d, d.opts.Logger)
	path := filepath.Join(d.opts.RuntimeDir, api.SocketName)
	services.Keep(ctx, d.opts.Logger, "status socket", func(ctx context.Context) error {
		return server.Run(ctx, path)
	})
}

// watchNeighbours fires the trigger when a device that chose an exit is met at another address.
func (d *daemon) watchNeighbours(ctx context.Context) {
	services.Keep(ctx, d.opts.Logger, "neighbour watch", func(ctx context.Context) error {
		return d.kernel.WatchNeighbours(ctx, func(n kernel.Neighbour) {
			if v, err := d.view(); err == nil && v.News(n) {
				d.trigger.Fire("a device's new address")
			}
		})
	})
}

// watchKernel fires the trigger for what others change in the kernel.
func (d *daemon) watchKernel(ctx context.Context) {
	services.Keep(ctx, d.opts.Logger, "kernel watch", func(ctx context.Context) error {
		return d.kernel.Watch(ctx, func(cause string) {
			d.services.Poke(cause)
			d.trigger.Fire(cause)
		})
	})
}
