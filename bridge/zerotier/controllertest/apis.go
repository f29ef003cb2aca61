package controllertest

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
)

const (
	get, post, del = http.MethodGet, http.MethodPost, http.MethodDelete
	ok             = http.StatusOK
)

// object decodes a body; nil when it is no object.
func object(body []byte) map[string]json.RawMessage {
	out := map[string]json.RawMessage{}
	if json.Unmarshal(body, &out) != nil {
		return nil
	}
	return out
}

// each returns what describe says of each key, in their order.
func each[V, T any](of map[string]V, describe func(key string) T) []any {
	out := []any{}
	for _, key := range slices.Sorted(maps.Keys(of)) {
		out = append(out, describe(key))
	}
	return out
}

// v1 is Central v1: a network's and a member's settings are under `config`.
func (s *Server) v1(method string, path []string, body []byte) (any, int) {
	describe := func(id string) map[string]any {
		config := map[string]any{"name": s.networks[id].name, "id": id}
		for key, value := range s.networks[id].config {
			config[key] = value
		}
		return map[string]any{"id": id, "clock": now(), "config": config, "rulesSource": "accept;"}
	}
	if path[0] != "network" {
		return nil, http.StatusNotFound
	}
	if len(path) == 1 {
		if method == get {
			return each(s.networks, describe), ok
		}
		id := s.newID("a1b2c3d4e5")
		s.networks[id] = s.fresh("random_name")
		return describe(id), ok
	}
	n := s.networks[path[1]]
	if n == nil {
		return nil, http.StatusNotFound
	}
	if len(path) == 2 {
		return s.network(method, path[1], n, object(object(body)["config"]),
			func() any { return describe(path[1]) })
	}
	one := func(node string) any {
		m := n.members[node]
		return map[string]any{"nodeId": node, "name": m.Name, "lastSeen": now(),
			"config": map[string]any{"authorized": m.Authorized,
				"ipAssignments": append([]string{}, m.Addrs...)}}
	}
	if len(path) == 3 {
		return each(n.members, one), ok
	}
	return s.member(method, n, path[3], object(body), object(object(body)["config"]), one)
}

// network serves what is alike for a single network.
func (s *Server) network(method, id string, n *network, given map[string]json.RawMessage,
	describe func() any) (any, int) {
	switch method {
	case del:
		answer := describe()
		delete(s.networks, id)
		return answer, ok
	case post:
		if !s.update(n, given) {
			return nil, http.StatusBadRequest
		}
	}
	return describe(), ok
}

// member serves a single member; a POST adds it.
func (s *Server) member(method string, n *network, node string, top,
	config map[string]json.RawMessage, one func(string) any) (any, int) {
	m := n.members[node]
	if m == nil && method != post {
		return nil, http.StatusNotFound
	}
	switch method {
	case del:
		answer := one(node)
		delete(n.members, node)
		return answer, ok
	case post:
		if m == nil {
			m = &member{}
			n.members[node] = m
		}
		set(top, "name", &m.Name)
		set(config, "authorized", &m.Authorized)
		set(config, "ipAssignments", &m.Addrs)
	}
	return one(node), ok
}

// set decodes a key into v if it is there; what does not fit is ignored.
func set(from map[string]json.RawMessage, key string, v any) {
	if raw, there := from[key]; there {
		_ = json.Unmarshal(raw, v)
	}
}

// v2 is Central v2: members are flat, and authorised by requests of their own.
func (s *Server) v2(method string, path []string, body []byte) (any, int) {
	describe := func(id string) any {
		return map[string]any{"id": id, "name": s.networks[id].name, "description": "",
			"config": s.networks[id].config, "stats": map[string]int{"totalDevices": 1}}
	}
	switch route := method + " " + strings.Join(path, "/"); route {
	case "GET org":
		return map[string]any{"items": []any{map[string]any{"id": "org1"}}}, ok
	case "GET org/org1/network-group":
		return map[string]any{"items": []any{map[string]any{"id": "group1"}}}, ok
	case "POST network-group/group1/network":
		id := s.newID("a1b2c3d4e5")
		n := s.fresh("")
		set(object(body), "name", &n.name)
		if !s.update(n, object(object(body)["config"])) {
			return nil, http.StatusBadRequest
		}
		s.networks[id] = n
		return describe(id), ok
	case "GET network":
		out := each(s.networks, describe)
		return map[string]any{"items": out}, ok
	}
	if path[0] != "network" || len(path) < 2 || s.networks[path[1]] == nil {
		return nil, http.StatusNotFound
	}
	n := s.networks[path[1]]
	if len(path) == 2 {
		return s.network(method, path[1], n, object(object(body)["config"]),
			func() any { return describe(path[1]) })
	}
	return s.membersV2(method, n, path[3:], body)
}

func (s *Server) membersV2(method string, n *network, path []string, body []byte) (any, int) {
	one := func(node string) any {
		m := n.members[node]
		status := "not_authorized"
		if m.Authorized {
			status = "authorized"
		}
		v4, v6 := []string{}, []string{}
		for _, a := range m.Addrs {
			if strings.Contains(a, ":") {
				v6 = append(v6, a)
			} else {
				v4 = append(v4, a)
			}
		}
		return map[string]any{"deviceId": node, "name": m.Name, "status": status,
			"ipv4Assignments": v4, "ipv6Assignments": v6, "lastSeenTime": now()}
	}
	if len(path) == 0 && method == get {
		out := each(n.members, one)
		return map[string]any{"items": out}, ok
	}
	if len(path) == 0 {
		var node string
		set(object(body), "deviceId", &node)
		if len(node) != 10 {
			return nil, http.StatusBadRequest
		}
		n.members[node] = &member{}
		return one(node), ok
	}
	m := n.members[path[0]]
	switch {
	case m == nil:
		return nil, http.StatusNotFound
	case len(path) == 2 && method == post && path[1] == "authorize":
		m.Authorized = true
	case len(path) == 2 && method == post && path[1] == "de-authorize":
		m.Authorized = false
	case len(path) == 1 && method == post:
		given := object(body)
		set(given, "name", &m.Name)
		var v4, v6 []string
		set(given, "ipv4Assignments", &v4)
		set(given, "ipv6Assignments", &v6)
		if given["ipv4Assignments"] != nil || given["ipv6Assignments"] != nil {
			m.Addrs = slices.Concat(v4, v6)
		}
	case len(path) == 1 && method == get:
	default:
		return nil, http.StatusNotFound
	}
	return one(path[0]), ok
}

// onBox is the local API of a zerotier-one with a controller.
func (s *Server) onBox(method string, path []string, body []byte) (any, int) {
	describe := func(id string) any {
		out := map[string]any{"id": id, "nwid": id, "objtype": "network", "revision": s.n,
			"name": s.networks[id].name}
		for key, value := range s.networks[id].config {
			out[key] = value
		}
		return out
	}
	switch strings.Join(path, "/") {
	case "status":
		return map[string]any{"address": Node, "version": "1.14.1", "clock": now()}, ok
	case "controller":
		if s.NoController {
			return nil, http.StatusNotFound
		}
		return map[string]any{"controller": true, "apiVersion": 4, "clock": now()}, ok
	case "controller/network":
		return append([]string{}, slices.Sorted(maps.Keys(s.networks))...), ok
	}
	if s.NoController || path[0] != "controller" || len(path) < 3 || path[1] != "network" {
		return nil, http.StatusNotFound
	}
	id := path[2]
	if id == Node+"______" && method == post {
		id = s.newID(Node)
		s.networks[id] = s.fresh("")
	}
	n := s.networks[id]
	if n == nil {
		return nil, http.StatusNotFound
	}
	if len(path) == 3 {
		return s.network(method, id, n, object(body), func() any { return describe(id) })
	}
	if len(path) == 4 {
		out := map[string]int{}
		for node := range n.members {
			out[node] = 1
		}
		return out, ok
	}
	one := func(node string) any {
		m := n.members[node]
		return map[string]any{"id": node, "address": node, "name": m.Name, "revision": s.n,
			"authorized": m.Authorized, "ipAssignments": append([]string{}, m.Addrs...)}
	}
	return s.member(method, n, path[4], object(body), object(body), one)
}
