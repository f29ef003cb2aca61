// Package notify tells people by webhook, ntfy, Telegram or mail what happens to the box:
//
//	status ─▶ Machine: lasts? told before? ─▶ Outbox of each sender: merge, wait, count ─▶ Sender
//
// Deciding is pure: Machine follows from successive statuses and a clock that never jumps. It is
// state that is told, not noise: what flaps is told once and called well only when it has been so
// for longer and longer, what could not be delivered is merged into one later message, and no
// sender gets more than a fixed number of messages an hour. Notifier alone acts: it keeps the
// machine on disk, so that a restart repeats nothing, and delivers. A message may arrive twice if
// the daemon dies while it is being sent.
package notify
