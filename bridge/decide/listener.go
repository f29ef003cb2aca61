package decide

import (
	"fmt"

	"ztbridge/bridge/config"
	"ztbridge/bridge/openvpn/endpoint"
)

// listenerMTU is the MTU of openvpn's TUN devices.
const listenerMTU = 1500

// Listener is the inner side of one listening socket of the endpoint.
type Listener struct {
	config.Listener
	Device string // its TUN device
	Pool   endpoint.Pool
}

// ListenersOf returns the endpoint's listeners with their devices and their parts of the pool.
func ListenersOf(cfg *config.Config) ([]Listener, error) {
	if cfg.Endpoint == nil {
		return nil, nil
	}
	pools, err := endpoint.Divide(cfg.Endpoint.Pool4, cfg.Endpoint.Pool6, len(cfg.Endpoint.Listen))
	if err != nil {
		return nil, fmt.Errorf("%s: endpoint.pool: %w", cfg.Endpoint.Pos, err)
	}
	var out []Listener
	for i, l := range cfg.Endpoint.Listen {
		out = append(out, Listener{Listener: l, Device: ListenerDevice(l), Pool: pools[i]})
	}
	return out, nil
}
