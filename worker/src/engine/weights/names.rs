//! What Hugging Face calls the tensors that llama.cpp's converter renames.

/// How the tensors of a model of safetensors are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Naming {
    /// As in llama.
    Plain,
    /// As in gemma 2 and 3, which have two norms more in each block.
    Gemma,
    /// As in phi3, whose gate and up are one matrix.
    Fused,
    /// As in mixtral, whose experts have words of their own.
    Mixtral,
}

impl Naming {
    /// Hugging Face's name for llama.cpp's `name`, if there is one.
    pub(super) fn translate(self, name: &str) -> Option<String> {
        match name {
            "token_embd.weight" => return Some("model.embed_tokens.weight".to_owned()),
            "output_norm.weight" => return Some("model.norm.weight".to_owned()),
            "output.weight" => return Some("lm_head.weight".to_owned()),
            _ => {}
        }
        let (block, part) = name.strip_prefix("blk.")?.split_once('.')?;
        let (part, kind) = part.rsplit_once('.')?;
        let part = match part.split_once('.') {
            Some((half, expert)) => self.expert(half, expert)?,
            None => self.part(part)?.to_owned(),
        };
        Some(format!("model.layers.{block}.{part}.{kind}"))
    }

    fn part(self, part: &str) -> Option<&'static str> {
        Some(match (part, self) {
            ("attn_norm", _) => "input_layernorm",
            ("attn_q", _) => "self_attn.q_proj",
            ("attn_k", _) => "self_attn.k_proj",
            ("attn_v", _) => "self_attn.v_proj",
            ("attn_qkv", _) => "self_attn.qkv_proj",
            ("attn_q_norm", _) => "self_attn.q_norm",
            ("attn_k_norm", _) => "self_attn.k_norm",
            ("attn_output", _) => "self_attn.o_proj",
            ("ffn_norm", Self::Gemma) => "pre_feedforward_layernorm",
            ("post_ffw_norm", Self::Gemma) => "post_feedforward_layernorm",
            ("post_attention_norm", Self::Gemma) | ("ffn_norm", _) => "post_attention_layernorm",
            ("ffn_gate", _) => "mlp.gate_proj",
            ("ffn_up", Self::Fused) => "mlp.gate_up_proj",
            ("ffn_up", _) => "mlp.up_proj",
            ("ffn_down", _) => "mlp.down_proj",
            ("ffn_gate_inp", Self::Mixtral) => "block_sparse_moe.gate",
            ("ffn_gate_inp", _) => "mlp.gate",
            _ => return None,
        })
    }

    fn expert(self, half: &str, expert: &str) -> Option<String> {
        if !expert.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        Some(match (half, self) {
            ("ffn_gate", Self::Mixtral) => format!("block_sparse_moe.experts.{expert}.w1"),
            ("ffn_down", Self::Mixtral) => format!("block_sparse_moe.experts.{expert}.w2"),
            ("ffn_up", Self::Mixtral) => format!("block_sparse_moe.experts.{expert}.w3"),
            ("ffn_gate" | "ffn_down" | "ffn_up", _) => {
                format!("mlp.experts.{expert}.{}_proj", half.strip_prefix("ffn_")?)
            }
            _ => return None,
        })
    }
}
