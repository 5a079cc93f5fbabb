package plane

import (
	"fmt"
	"net"
	"time"
)

// Publish implements [Conn]. A large message is written from the memory of the
// caller, but for the in-process pipe, where one write is worth more. A small one is queued while another is being written, so that whoever
// acknowledges what it reads never waits for what it sends.
func (s *Socket) Publish(subject string, head, body []byte) error {
	size := len(head) + len(body)
	if most := s.MaxPayload(); size > most {
		return fmt.Errorf("plane: publish %d bytes to %s, which takes %d", size, s.name, most)
	}
	if size <= smallMessage {
		b := appendPub(make([]byte, 0, size+len(subject)+32), subject, size)
		b = append(append(append(b, head...), body...), "\r\n"...)
		return s.enqueue(b)
	}
	s.write.Lock()
	s.line = append(appendPub(s.line[:0], subject, size), head...)
	b := net.Buffers{s.line, body, []byte("\r\n")}
	if s.inside && size <= serverRead {
		s.line = append(append(s.line, body...), "\r\n"...) // see Grain
		b = net.Buffers{s.line}
	}
	err := s.writeOut(b)
	s.write.Unlock()
	if err != nil {
		return err
	}
	return s.help()
}

// enqueue adds whole messages to the queue and writes it, unless somebody writes
// already and will.
func (s *Socket) enqueue(b []byte) error {
	s.mu.Lock()
	if s.conn == nil {
		s.mu.Unlock()
		return s.disconnected()
	}
	s.queue = append(s.queue, b...)
	s.mu.Unlock()
	return s.help()
}

// help writes the queue if nobody else is writing. Whoever wrote calls it after the
// lock is free: what was queued meanwhile may have nobody else.
func (s *Socket) help() error {
	for {
		s.mu.Lock()
		empty := len(s.queue) == 0
		s.mu.Unlock()
		if empty || !s.write.TryLock() {
			return nil
		}
		err := s.writeOut(nil)
		s.write.Unlock()
		if err != nil {
			return err
		}
	}
}

// flushQueue writes the queue, after whoever is writing.
func (s *Socket) flushQueue() error {
	s.write.Lock()
	err := s.writeOut(nil)
	s.write.Unlock()
	if err != nil {
		return err
	}
	return s.help()
}

// writeOut writes the queue and then b. The writer's lock is held. A connection that
// took only part of it is of no more use.
func (s *Socket) writeOut(b net.Buffers) error {
	s.mu.Lock()
	c, queued := s.conn, s.queue
	s.queue, s.spare = s.spare[:0], nil
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.spare = queued
		s.mu.Unlock()
	}()
	if c == nil {
		return s.disconnected()
	}
	if len(queued) > 0 {
		b = append(net.Buffers{queued}, b...)
	}
	if len(b) == 0 {
		return nil
	}
	var err error
	if !s.inside { // the server in this process always reads
		err = c.SetWriteDeadline(time.Now().Add(writeTimeout))
	}
	if err == nil {
		_, err = b.WriteTo(c)
	}
	if err != nil {
		_ = c.Close() // the reader notices and dials again
		return fmt.Errorf("plane: publish to %s: %w: %w", s.name, ErrDisconnected, err)
	}
	return nil
}

func (s *Socket) disconnected() error {
	if s.life.Err() != nil {
		return fmt.Errorf("plane: %s: %w", s.name, ErrClosed)
	}
	return fmt.Errorf("plane: %s: %w", s.name, ErrDisconnected)
}
