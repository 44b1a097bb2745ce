//! What the kernel knows of connections, by `proc_net_tcp(5)`.

use std::fs;

/// A connection of this machine's own.
struct Connection {
    port: u16,
    is_established: bool,
    unsent: usize,
}

impl Connection {
    fn of(line: &str) -> Option<Self> {
        // For example `0: 0100007F:176F 0100007F:D52C 01 00000000:00000000 …`: number, own address,
        // other address, state (01 is established), bytes to send and bytes to read.
        let mut fields = line.split_whitespace().skip(1);
        let number = |text: &str| usize::from_str_radix(text, 16).ok();
        let (_, port) = fields.next()?.rsplit_once(':')?;
        let is_established = fields.nth(1)? == "01";
        let (unsent, _) = fields.next()?.split_once(':')?;
        let port = u16::from_str_radix(port, 16).ok()?;
        Some(Self { port, is_established, unsent: number(unsent)? })
    }
}

/// The connections at a port, in the network that a process sees.
fn connections(process: &str, port: u16) -> Vec<Connection> {
    let table = fs::read_to_string(format!("/proc/{process}/net/tcp")).unwrap();
    let all = table.lines().filter_map(Connection::of);
    all.filter(|it| it.port == port && it.is_established).collect()
}

/// How many clients a service has at its port, as far as it knows.
pub(crate) fn clients(process: u32, port: u16) -> usize {
    connections(&process.to_string(), port).len()
}

/// How many bytes a service's clients have not yet taken of what it sent to them.
pub(crate) fn unsent(port: u16) -> usize {
    connections("self", port).iter().map(|it| it.unsent).sum()
}
