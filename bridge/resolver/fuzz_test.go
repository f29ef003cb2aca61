package resolver

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// recorder is a client that keeps the answer.
type recorder struct {
	net.Addr
	answer *dns.Msg
}

func (r *recorder) LocalAddr() net.Addr         { return r.Addr }
func (r *recorder) RemoteAddr() net.Addr        { return r.Addr }
func (r *recorder) WriteMsg(m *dns.Msg) error   { r.answer = m; return nil }
func (r *recorder) Write(b []byte) (int, error) { return len(b), nil }
func (r *recorder) Close() error                { return nil }
func (r *recorder) TsigStatus() error           { return nil }
func (r *recorder) TsigTimersOnly(bool)         {}
func (r *recorder) Hijack()                     {}

// fakeUpstream returns an upstream that answers each question by bytes of its own choice, with the
// question's id before them.
func fakeUpstream(t *testing.T, answer []byte) *upstream {
	t.Helper()
	ours, theirs := net.Pipe()
	p := newPipeline(ours)
	go func() {
		defer theirs.Close()
		for {
			var size [2]byte
			if _, err := io.ReadFull(theirs, size[:]); err != nil {
				return
			}
			q := make([]byte, binary.BigEndian.Uint16(size[:]))
			if _, err := io.ReadFull(theirs, q); err != nil || len(q) < 2 {
				return
			}
			out := binary.BigEndian.AppendUint16(nil, uint16(2+len(answer)))
			if _, err := theirs.Write(append(append(out, q[:2]...), answer...)); err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		p.close()
		<-p.done
	})
	return &upstream{conn: p}
}

// FuzzHandle takes what a client and a resolver may send. Whatever they are, the client gets one
// answer to its own question, short enough for it, and nothing that the resolver said of another.
func FuzzHandle(f *testing.F) {
	seed := func(q, a *dns.Msg) {
		question, err := q.Pack()
		if err != nil {
			f.Fatal(err)
		}
		answer, err := a.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(question, answer[2:], true)
		f.Add(question, answer[2:], false)
	}
	q := new(dns.Msg).SetQuestion("a.example.", dns.TypeA)
	a := new(dns.Msg).SetReply(q)
	for range 60 {
		a.Answer = append(a.Answer, &dns.A{Hdr: dns.RR_Header{Name: "a.example.",
			Rrtype: dns.TypeA, Class: dns.ClassINET}, A: net.IPv4(192, 0, 2, 1)})
	}
	seed(q, a)
	seed(q.Copy().SetEdns0(1232, true), a)
	seed(new(dns.Msg).SetAxfr("example."), new(dns.Msg))
	seed(new(dns.Msg).SetNotify("example."), q)
	seed(q, new(dns.Msg).SetReply(new(dns.Msg).SetQuestion("b.example.", dns.TypeA)))
	f.Fuzz(func(t *testing.T, question, answer []byte, udp bool) {
		q := new(dns.Msg)
		if q.Unpack(question) != nil || len(answer) > dns.MaxMsgSize-2 {
			return
		}
		r := New(Config{Mark: 1})
		r.upstreams = []*upstream{fakeUpstream(t, answer)}
		r.upstreams[0].tls = nil // a second connection is none of this test's
		w := &recorder{Addr: &net.TCPAddr{}}
		if udp {
			w.Addr = &net.UDPAddr{}
		}
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		r.handle(ctx, w, q)
		if w.answer == nil {
			t.Fatal("no answer")
		}
		if w.answer.Id != q.Id || !w.answer.Response {
			t.Errorf("the answer's id is %d, to question %d; response %v", w.answer.Id, q.Id,
				w.answer.Response)
		}
		raw, err := w.answer.Pack()
		if err != nil {
			t.Fatalf("the answer cannot be sent: %v", err)
		}
		limit := dns.MinMsgSize
		if o := q.IsEdns0(); o != nil {
			limit = min(max(limit, int(o.UDPSize())), maxUDP)
		}
		if udp && len(raw) > limit {
			t.Errorf("%d bytes by UDP, the client takes %d", len(raw), limit)
		}
		if acceptable(q) == dns.RcodeSuccess && !sameQuestion(q, w.answer) {
			t.Errorf("%v answered by %v", q.Question, w.answer.Question)
		}
	})
}
