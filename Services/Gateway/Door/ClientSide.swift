import NIOCore

/// The client's end of one exchange: an HTTP/1 connection or an HTTP/2 stream.
protocol ClientSide: AnyObject {
    /// Whether more of an answer should be written now.
    var isWritable: Bool { get }

    func sendContinue()

    /// A buffer that begins as the head of an answer must begin here; field lines are written behind it.
    /// - Parameter room: about how many bytes of lines and body will follow in it.
    func beginHead(status: Int, room: Int) -> ByteBuffer

    /// - Parameters:
    ///   - head: from ``beginHead(status:room:)``, with all field lines.
    ///   - length: of the body when it is known.
    ///   - body: the whole body; nil: it follows in pieces, or there is none.
    ///   - isWhole: nothing follows.
    func send(head: ByteBuffer, status: Int, length: Int?, body: ByteBuffer?, isWhole: Bool)

    func send(piece: ByteBuffer)
    func finish()

    /// Ends an answer that has begun and cannot be completed, so that the client notices.
    func cutOff()

    /// Stops and resumes taking in the request's body.
    func holdReading(_ isHeld: Bool)

    /// The exchange is over: an answer has been sent whole or cut off.
    /// - Parameter isReadable: the request was read whole, so the next one can be told from it.
    func exchangeIsOver(isReadable: Bool)
}
