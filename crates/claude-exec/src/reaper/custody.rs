//! The lock of the job's folder in the guard's hands: it must not be free before all that works in
//! the folder is gone, even if the worker is killed.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::cmsg_space;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// The byte that a lock travels with; no order.
const LOCK: u8 = b'l';

/// Sends the lock to the guard, before anything else and before the guard is started.
pub(crate) fn hand_over(control: impl AsFd, lock: BorrowedFd<'_>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
    let mut message = SendAncillaryBuffer::new(&mut space);
    let locks = [lock];
    message.push(SendAncillaryMessage::ScmRights(&locks));
    sendmsg(control, &[IoSlice::new(&[LOCK])], &mut message, SendFlags::empty())?;
    Ok(())
}

/// Takes what the worker sent; the guard's program will not inherit it.
pub(super) fn take_over(control: impl AsFd) -> io::Result<Option<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
    let mut message = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    recvmsg(control, &mut [IoSliceMut::new(&mut byte)], &mut message, RecvFlags::CMSG_CLOEXEC)?;
    Ok(message.drain().find_map(|part| match part {
        RecvAncillaryMessage::ScmRights(mut locks) => locks.next(),
        _ => None,
    }))
}
