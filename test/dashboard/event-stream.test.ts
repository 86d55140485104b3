import t from 'tap'
import { readEvents } from '../../src/dashboard/page/net/event-stream.js'

async function read(...chunks: readonly (string | Uint8Array)[]): Promise<unknown[]> {
  const encoder = new TextEncoder()
  const stream = new ReadableStream<Uint8Array>({
    start(controller) {
      for (const chunk of chunks) controller.enqueue(typeof chunk === 'string' ? encoder.encode(chunk) : chunk)
      controller.close()
    }
  })
  const events: unknown[] = []
  for await (const event of readEvents(stream)) events.push(event)
  return events
}

void t.test('events are read however the stream is cut', async (t) => {
  const text = ':\n\nid: 3\nevent: granted\ndata: {"a":"ü: 1"}\n\nid: 4\r\nevent: end\r\ndata: x\r\ndata:y\r\n\r\n'
  const events = [null, { id: '3', event: 'granted', data: '{"a":"ü: 1"}' }, { id: '4', event: 'end', data: 'x\ny' }]
  t.strictSame(await read(text), events)
  t.strictSame(await read(...Array.from(text)), events, 'character by character')
  const bytes = new TextEncoder().encode(text)
  t.strictSame(await read(...Array.from(bytes, (byte) => new Uint8Array([byte]))), events, 'byte by byte')
})

void t.test('half an event is none, and what the format does not know is passed over', async (t) => {
  t.strictSame(await read('data: 1\n\ndata: 2\n'), [{ id: null, event: 'message', data: '1' }])
  t.strictSame(await read('retry: 5\nwhat\n\ndata\n\n'), [{ id: null, event: 'message', data: '' }])
})
