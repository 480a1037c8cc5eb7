//! Decodes messages with prost, after a check of their size in memory. An entry without fields takes two bytes on the
//! wire but hundreds in memory, so a request of 4 MiB could take a gigabyte before any limit is checked.

use std::marker::PhantomData;

use prost::Message;
use prost::bytes::{Buf, Bytes};
use prost::encoding::{WireType, decode_key, decode_varint};
use tonic::Status;
use tonic::codec::{BufferSettings, DecodeBuf, Decoder};
use tonic_prost::ProstCodec;

use crate::error::Error;

/// How often one field may occur in one message. This is more than any request or response may have, so that the
/// service itself can refuse a request that is only a little too long.
const MOST: u32 = 10_000;
/// Fields with higher numbers are in no message of the contract, so they take no memory.
const FIELDS: usize = 32;

/// The codec of all services and clients. Generated code refers to it.
pub struct Codec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> tonic::codec::Codec for Codec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = <ProstCodec<T, U> as tonic::codec::Codec>::Encoder;
    type Decoder = Bounded<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<T, U>::raw_encoder(BufferSettings::default())
    }

    fn decoder(&mut self) -> Self::Decoder {
        Bounded(PhantomData)
    }
}

/// A decoder that refuses messages with too many occurrences of a field.
pub struct Bounded<U>(PhantomData<U>);

impl<U: Message + Default> Decoder for Bounded<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        let message = buffer.copy_to_bytes(buffer.remaining());
        if let Some(field) = excess(&message) {
            let error =
                Error::invalid(format!("field {field}"), format!("must come at most {MOST} times in one message"));
            return Err(error.into());
        }
        U::decode(message).map(Some).map_err(|error| Status::internal(error.to_string()))
    }
}

/// A field that occurs too often in the message or in one of its direct submessages.
fn excess(message: &Bytes) -> Option<u32> {
    let mut within = Vec::new();
    count(message.clone(), |piece| within.push(piece))
        .or_else(|| within.into_iter().find_map(|piece| count(piece, |_| ())))
}

/// A field that occurs too often in `message` itself; its submessages are not checked. Calls `each` with every string
/// and submessage. An undecodable message has no such field: prost reports what is wrong with it.
fn count(mut message: Bytes, mut each: impl FnMut(Bytes)) -> Option<u32> {
    let mut counts = [0u32; FIELDS];
    while message.has_remaining() {
        let (field, kind) = decode_key(&mut message).ok()?;
        let length = match kind {
            WireType::Varint => decode_varint(&mut message).ok().map(|_| 0)?,
            WireType::SixtyFourBit => 8,
            WireType::ThirtyTwoBit => 4,
            WireType::LengthDelimited => usize::try_from(decode_varint(&mut message).ok()?).ok()?,
            WireType::StartGroup | WireType::EndGroup => 0,
        };
        if length > message.remaining() {
            return None;
        }
        let piece = message.split_to(length);
        if kind == WireType::LengthDelimited
            && let Some(count) = counts.get_mut(field as usize)
        {
            *count += 1;
            if *count > MOST {
                return Some(field);
            }
            each(piece);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grpc::pb::{AuditLogInput, Change, WriteAuditLogsRequest};

    fn request(entries: usize, changes: usize) -> Bytes {
        let entry = AuditLogInput { changes: vec![Change::default(); changes], ..AuditLogInput::default() };
        let organization_id = "org_a".to_owned();
        WriteAuditLogsRequest { organization_id, audit_logs: vec![entry; entries] }.encode_to_vec().into()
    }

    #[test]
    fn messages_with_too_many_entries_or_changes_are_not_decoded() {
        assert_eq!(excess(&request(10_000, 0)), None);
        assert_eq!(excess(&request(10_001, 0)), Some(2));
        assert_eq!(excess(&request(2, 10_000)), None);
        assert_eq!(excess(&request(1, 10_001)), Some(10));
    }

    #[test]
    fn malformed_messages_are_left_to_prost() {
        let message = request(3, 3);
        for end in 0..message.len() {
            assert_eq!(excess(&message.slice(..end)), None);
        }
        assert_eq!(excess(&vec![0xff; 1_000].into()), None);
        assert_eq!(excess(&vec![0x0b; 100_000].into()), None);
    }
}
