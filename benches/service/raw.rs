//! A gRPC client that does not decode answers. Client and service share a machine, so decoding would count against the
//! service.

use auditlog::grpc::pb::ListAuditLogsRequest;
use prost::Message;
use prost::bytes::{Buf, BufMut};
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;
use tonic::{Request, Status};

/// Sends list requests and returns the size of each answer in bytes.
#[derive(Clone)]
pub struct Lister {
    grpc: Grpc<Channel>,
    key: MetadataValue<Ascii>,
}

impl Lister {
    pub fn new(channel: Channel, key: MetadataValue<Ascii>) -> Self {
        Self { grpc: Grpc::new(channel), key }
    }

    pub async fn list(&mut self, message: &ListAuditLogsRequest) -> anyhow::Result<usize> {
        let path = http::uri::PathAndQuery::from_static("/auditlog.v1.AuditLogService/ListAuditLogs");
        let mut request = Request::new(message.encode_to_vec());
        request.metadata_mut().insert("authorization", self.key.clone());
        self.grpc.ready().await?;
        Ok(self.grpc.unary(request, path, Bytes).await?.into_inner())
    }
}

struct Bytes;

impl Codec for Bytes {
    type Encode = Vec<u8>;
    type Decode = usize;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Bytes {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf) -> Result<(), Status> {
        buffer.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Bytes {
    type Item = usize;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf) -> Result<Option<usize>, Status> {
        let bytes = buffer.remaining();
        buffer.advance(bytes);
        Ok(Some(bytes))
    }
}
